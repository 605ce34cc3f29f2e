# bundle exec cap.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	need bundle "Use a box with Ruby, and run bundle-install before"
	bundle exec cap $WERCKER_CAP_STAGE $WERCKER_CAP_TASKS
)
