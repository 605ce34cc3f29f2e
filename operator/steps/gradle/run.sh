# The project's gradlew, else gradle of the box or the operator. No daemon.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_GRADLE_TASK" ] || fail "task is missing: write it, for example task: build"
	if [ -x ./gradlew ]; then
		tool=./gradlew
	else
		provide gradle ${WERCKER_GRADLE_VERSION:+"$WERCKER_GRADLE_VERSION"}
	fi
	set -- --no-daemon
	[ -z "$WERCKER_GRADLE_BUILD_FILE" ] || set -- "$@" "--build-file=$WERCKER_GRADLE_BUILD_FILE"
	[ -z "$WERCKER_GRADLE_SETTINGS_FILE" ] || set -- "$@" "--settings-file=$WERCKER_GRADLE_SETTINGS_FILE"
	[ -z "$WERCKER_GRADLE_INIT_SCRIPT" ] || set -- "$@" "--init-script=$WERCKER_GRADLE_INIT_SCRIPT"
	! is_true "$WERCKER_GRADLE_DEBUG" || set -- "$@" --debug
	! is_true "$WERCKER_GRADLE_CACHE_PROJECT_CACHE" || set -- "$@" "--project-cache-dir=$WERCKER_CACHE_DIR/.gradle"
	for each in $WERCKER_GRADLE_SYSTEM_PROPS; do
		set -- "$@" "-D${each#-D}"
	done
	GRADLE_USER_HOME="$WERCKER_CACHE_DIR/gradle"
	export GRADLE_USER_HOME
	[ -z "$WERCKER_GRADLE_GRADLE_OPTS" ] || export GRADLE_OPTS="$WERCKER_GRADLE_GRADLE_OPTS"
	"$tool" "$@" $WERCKER_GRADLE_TASK
)
