# The manifest has name and version.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	manifest=
	for each in wercker-box.yml; do
		[ -n "$manifest" ] || [ ! -f "$each" ] || manifest="$each"
	done
	[ -n "$manifest" ] || fail "there is no wercker-box.yml in $PWD"
	for each in name version; do
		grep -qE "^$each:[[:space:]]*[^[:space:]#]" "$manifest" || fail "$manifest has no $each at the left margin"
	done
	version="$(sed -n 's/^version:[[:space:]]*["'"'"']\{0,1\}\([^"'"'"'#[:space:]]*\).*/\1/p' "$manifest")"
	case "$version" in
	([0-9]*.[0-9]*.[0-9]*) ;;
	(*) fail "version is '$version' in $manifest: write three numbers, such as 1.0.0" ;;
	esac
	:
	info "$manifest is valid"
)
