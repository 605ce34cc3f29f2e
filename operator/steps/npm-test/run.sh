# npm test, with its own exit code.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	need npm "Use a box with Node.js, for example node:22"
	npm test
)
