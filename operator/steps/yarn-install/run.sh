# yarn install, three tries, with a cache that later builds have too.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	provide yarn
	set -- $WERCKER_YARN_INSTALL_OPTS
	! is_true "$WERCKER_YARN_INSTALL_PRODUCTION" || set -- --production "$@"
	if is_true "$WERCKER_YARN_INSTALL_USE_CACHE"; then
		YARN_CACHE_FOLDER="$WERCKER_CACHE_DIR/bashaus/yarn-install"
		mkdir -p "$YARN_CACHE_FOLDER" || fail "cannot make the cache directory $YARN_CACHE_FOLDER"
		export YARN_CACHE_FOLDER
	fi
	between() {
		if is_true "$WERCKER_YARN_INSTALL_CLEAR_CACHE_ON_FAILED" && is_true "$WERCKER_YARN_INSTALL_USE_CACHE"; then
			rm -rf "${YARN_CACHE_FOLDER:?}" && mkdir -p "$YARN_CACHE_FOLDER"
		fi
	}
	attempts 3 "$tool" install "$@" || fail "yarn install failed three times"
)
