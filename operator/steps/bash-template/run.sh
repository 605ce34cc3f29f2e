# Templates: $VAR, ${VAR:-x}, $(command), backticks and backslashes, of exported variables, as in a here-document.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	output="${WERCKER_BASH_TEMPLATE_OUTPUT:-./}"
	set -- $WERCKER_BASH_TEMPLATE_INPUT
	if [ "$#" -eq 0 ] || [ ! -e "$1" ]; then
		warn "no file in $PWD matches ${WERCKER_BASH_TEMPLATE_INPUT:-input, which is empty}"
		exit 0
	fi
	case "$output" in
	(*/) mkdir -p "$output" || fail "cannot make the directory $output" ;;
	(*) [ "$#" -eq 1 ] || fail "output is the file $output, and $# templates match $WERCKER_BASH_TEMPLATE_INPUT. End it with a slash for a directory" ;;
	esac
	flags=
	[ -z "$WERCKER_BASH_TEMPLATE_ERROR_ON_EMPTY" ] || flags=-u
	for template in "$@"; do
		case "$output" in
		(*/)
			target="${template##*/}"
			target="$output${target%%.template*}${target#*.template}"
			;;
		(*) target="$output" ;;
		esac
		# A mark that is no line of the template: the text must not end before its end.
		mark=SENTINEL_END
		while grep -qxF -e "$mark" "$template"; do
			mark="${mark}_"
		done
		{
			printf 'cat <<%s\n' "$mark"
			cat "$template"
			# A last line without a newline would swallow the mark.
			[ -z "$(tail -c 1 "$template")" ] || printf '\n'
			printf '%s\n' "$mark"
		} >"$WERCKER_STEP_TEMP/template.sh" || fail "cannot read $template"
		sh $flags "$WERCKER_STEP_TEMP/template.sh" >"$WERCKER_STEP_TEMP/expanded" || fail "$template cannot be expanded: see the log"
		cat "$WERCKER_STEP_TEMP/expanded" >"$target" || fail "cannot write $target"
		info "$template: wrote $target"
	done
)
