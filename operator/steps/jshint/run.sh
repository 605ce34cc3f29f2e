# jshint of the box, the project or the operator.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	if have jshint; then
		tool=jshint
	elif [ -x node_modules/.bin/jshint ]; then
		tool=node_modules/.bin/jshint
	else
		provide jshint ${WERCKER_JSHINT_VERSION:+"$WERCKER_JSHINT_VERSION"}
	fi
	case "$WERCKER_JSHINT_TYPE" in
	(artifact) "$tool" --reporter=jslint $WERCKER_JSHINT_FILES >"$WERCKER_REPORT_ARTIFACTS_DIR/jshint.xml" ;;
	(stdout) "$tool" $WERCKER_JSHINT_FILES ;;
	(*) fail "type is '$WERCKER_JSHINT_TYPE': write stdout or artifact" ;;
	esac
)
