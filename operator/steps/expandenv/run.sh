# $NAME and ${NAME} of exported variables, and nothing else that a shell would do.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	file="$WERCKER_EXPANDENV_INPUT_FILE"
	[ -n "$file" ] || fail "input_file is missing"
	[ -f "$file" ] || fail "input_file is $file, and there is no such file in $PWD"
	case "$WERCKER_EXPANDENV_OUTPUT_ENV_VAR" in
	(*[!A-Za-z0-9_]* | [0-9]* | '') fail "output_env_var is '$WERCKER_EXPANDENV_OUTPUT_ENV_VAR', which cannot be the name of a variable" ;;
	esac
	"$boxkit" expand <"$file" >"$WERCKER_STEP_TEMP/result" || fail "$file cannot be read"
	if [ -n "$WERCKER_EXPANDENV_OUTPUT_FILE" ]; then
		cat "$WERCKER_STEP_TEMP/result" >"$WERCKER_EXPANDENV_OUTPUT_FILE" || fail "cannot write $WERCKER_EXPANDENV_OUTPUT_FILE"
		info "wrote $WERCKER_EXPANDENV_OUTPUT_FILE"
	fi
) && if [ -z "$WERCKER_EXPANDENV_OUTPUT_FILE" ]; then
	export "$WERCKER_EXPANDENV_OUTPUT_ENV_VAR=$(cat "$WERCKER_STEP_TEMP/result")"
fi
