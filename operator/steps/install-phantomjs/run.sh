# phantomjs of the box or the operator, on PATH.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	provide phantomjs ${WERCKER_INSTALL_PHANTOMJS_VERSION:+"$WERCKER_INSTALL_PHANTOMJS_VERSION"}
	"$tool" --version || fail "phantomjs does not start"
	result "${tool%/*}"
) && case ":$PATH:" in
(*":$(cat "$WERCKER_STEP_TEMP/result"):"*) ;;
(*) export PATH="$(cat "$WERCKER_STEP_TEMP/result"):$PATH" ;;
esac
