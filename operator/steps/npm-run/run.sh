# npm run, in the source's root.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_NPM_RUN_SCRIPT" ] || fail "script is missing: write a script of package.json"
	need npm "Use a box with Node.js, for example node:22"
	cd "$WERCKER_ROOT" && npm run $WERCKER_NPM_RUN_SCRIPT
)
