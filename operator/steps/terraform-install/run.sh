# terraform of the box or the operator, on PATH.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	provide terraform ${WERCKER_TERRAFORM_INSTALL_VERSION:+"$WERCKER_TERRAFORM_INSTALL_VERSION"}
	"$tool" --version || fail "terraform does not start"
	result "${tool%/*}"
) && case ":$PATH:" in
(*":$(cat "$WERCKER_STEP_TEMP/result"):"*) ;;
(*) export PATH="$(cat "$WERCKER_STEP_TEMP/result"):$PATH" ;;
esac
