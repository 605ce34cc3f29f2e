# The manifest has name, version and a script.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	manifest=
	for each in step.yml wercker-step.yml; do
		[ -n "$manifest" ] || [ ! -f "$each" ] || manifest="$each"
	done
	[ -n "$manifest" ] || fail "there is no step.yml in $PWD"
	for each in name version; do
		grep -qE "^$each:[[:space:]]*[^[:space:]#]" "$manifest" || fail "$manifest has no $each at the left margin"
	done
	version="$(sed -n 's/^version:[[:space:]]*["'"'"']\{0,1\}\([^"'"'"'#[:space:]]*\).*/\1/p' "$manifest")"
	case "$version" in
	([0-9]*.[0-9]*.[0-9]*) ;;
	(*) fail "version is '$version' in $manifest: write three numbers, such as 1.0.0" ;;
	esac
	[ -f run.sh ] || [ -f init.sh ] || fail 'there is neither run.sh nor init.sh in this directory'
	info "$manifest is valid"
)
