# shellcheck, with its own status.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	provide shellcheck
	[ -z "$WERCKER_SHELLCHECK_SEPARATOR" ] || IFS="$WERCKER_SHELLCHECK_SEPARATOR"
	files="$WERCKER_SHELLCHECK_FILES"
	set --
	[ -z "$WERCKER_SHELLCHECK_EXCLUDE" ] || set -- "$@" "--exclude=$WERCKER_SHELLCHECK_EXCLUDE"
	[ -z "$WERCKER_SHELLCHECK_FORMAT" ] || set -- "$@" "--format=$WERCKER_SHELLCHECK_FORMAT"
	[ -z "$WERCKER_SHELLCHECK_SHELL" ] || set -- "$@" "--shell=$WERCKER_SHELLCHECK_SHELL"
	for each in $files; do
		[ -e "$each" ] || fail "no file matches $each in $PWD"
		set -- "$@" "$each"
	done
	"$tool" "$@"
)
