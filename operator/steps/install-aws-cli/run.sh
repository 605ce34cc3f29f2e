# aws of the box or the operator, on PATH, configured by variables.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_INSTALL_AWS_CLI_KEY" ] || fail "key is missing"
	[ -n "$WERCKER_INSTALL_AWS_CLI_SECRET" ] || fail "secret is missing"
	provide aws
	"$tool" --version || fail "aws does not start"
	result "${tool%/*}"
) && {
	case ":$PATH:" in
	(*":$(cat "$WERCKER_STEP_TEMP/result"):"*) ;;
	(*) export PATH="$(cat "$WERCKER_STEP_TEMP/result"):$PATH" ;;
	esac
	export AWS_ACCESS_KEY_ID="$WERCKER_INSTALL_AWS_CLI_KEY" AWS_SECRET_ACCESS_KEY="$WERCKER_INSTALL_AWS_CLI_SECRET"
	export AWS_DEFAULT_REGION="$WERCKER_INSTALL_AWS_CLI_REGION"
}
