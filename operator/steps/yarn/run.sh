# yarn install, three tries, with a cache that later builds have too.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	provide yarn
	set -- $WERCKER_YARN_OPTIONS
	! is_true "$WERCKER_YARN_PURE_LOCKFILE" || set -- --pure-lockfile "$@"
	! is_true "$WERCKER_YARN_PRODUCTION" || set -- --production "$@"
	if is_true "$WERCKER_YARN_CACHE"; then
		YARN_CACHE_FOLDER="$WERCKER_CACHE_DIR/wercker/yarn"
		mkdir -p "$YARN_CACHE_FOLDER" || fail "cannot make the cache directory $YARN_CACHE_FOLDER"
		export YARN_CACHE_FOLDER
	fi
	attempts 3 "$tool" install "$@" || fail "yarn install failed three times"
)
