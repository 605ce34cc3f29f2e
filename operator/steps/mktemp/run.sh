# A temporary file or directory, its path in a variable of the user's choice.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	case "$WERCKER_MKTEMP_ENVVAR" in
	('') fail "envvar is missing: write the name of the variable that gets the path" ;;
	([!A-Za-z_]* | *[!A-Za-z0-9_]*) fail "envvar is '$WERCKER_MKTEMP_ENVVAR', which cannot be the name of a variable" ;;
	esac
	if is_true "$WERCKER_MKTEMP_DIRECTORY"; then
		path="$(mktemp -d)" || fail "cannot make a temporary directory"
	else
		path="$(mktemp)" || fail "cannot make a temporary file"
	fi
	result "$path"
) && export "$WERCKER_MKTEMP_ENVVAR=$(cat "$WERCKER_STEP_TEMP/result")"
