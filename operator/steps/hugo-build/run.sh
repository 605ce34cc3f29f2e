# hugo, of the box or the operator.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	version="${WERCKER_HUGO_BUILD_VERSION#v}"
	[ "$version" != false ] || version=
	if is_true "$WERCKER_HUGO_BUILD_FORCE_INSTALL" || ! have hugo; then
		tool="$("$boxkit" tool hugo ${version:+"$version"} 2>"$WERCKER_STEP_TEMP/tool.txt")" || {
			! have hugo || fail "force_install is on, and $(cat "$WERCKER_STEP_TEMP/tool.txt"). Leave it out to use the box's Hugo"
			provide hugo ${version:+"$version"}
		}
	else
		tool=hugo
		if [ -n "$version" ]; then
			case "$(hugo version)" in
			(*"v$version"[!0-9.]* | *"v$version") ;;
			(*) warn "the box's Hugo is used, which is not $version: $(hugo version)" ;;
			esac
		fi
	fi
	site="$WERCKER_SOURCE_DIR${WERCKER_HUGO_BUILD_BASEDIR:+/$WERCKER_HUGO_BUILD_BASEDIR}"
	[ -d "$site" ] || fail "there is no directory $site: check basedir"
	# contains WORDS WORD
	contains() {
		for each in $1; do
			[ "$each" != "$2" ] || return 0
		done
		return 1
	}
	branch="${WERCKER_GIT_BRANCH-}" dev=
	if [ -n "$WERCKER_HUGO_BUILD_PROD_BRANCHES" ]; then
		contains "$WERCKER_HUGO_BUILD_PROD_BRANCHES" "$branch" || dev=yes
	elif [ -n "$WERCKER_HUGO_BUILD_DEV_BRANCHES" ]; then
		! contains "$WERCKER_HUGO_BUILD_DEV_BRANCHES" "$branch" || dev=yes
	fi
	set -- "--source=$site"
	if [ -n "$dev" ] && [ -n "$WERCKER_HUGO_BUILD_DEV_FLAGS" ]; then
		set -- "$@" $WERCKER_HUGO_BUILD_DEV_FLAGS
	else
		[ -z "$WERCKER_HUGO_BUILD_THEME" ] || set -- "$@" "--theme=$WERCKER_HUGO_BUILD_THEME"
		[ -z "$WERCKER_HUGO_BUILD_CONFIG" ] || set -- "$@" "--config=$WERCKER_HUGO_BUILD_CONFIG"
		set -- "$@" $WERCKER_HUGO_BUILD_FLAGS
	fi
	if is_true "$WERCKER_HUGO_BUILD_CLEAN_BEFORE"; then
		rm -rf "${site:?}/public" || fail "cannot empty $site/public"
	fi
	mkdir -p "$site/content"
	"$tool" "$@"
)
