# npm install, three tries, with a cache that later builds have too.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	need npm "Use a box with Node.js, for example node:22"
	case "$WERCKER_NPM_INSTALL_COMMAND" in
	(install | ci) ;;
	(*) fail "command is '$WERCKER_NPM_INSTALL_COMMAND': write install or ci" ;;
	esac
	if [ "${NODE_ENV-}" = production ]; then
		warn "NODE_ENV is production, so npm leaves out devDependencies"
	fi
	if is_true "$WERCKER_NPM_INSTALL_USE_CACHE"; then
		npm_config_cache="$WERCKER_CACHE_DIR/wercker/npm"
		mkdir -p "$npm_config_cache" || fail "cannot make the cache directory $npm_config_cache"
		export npm_config_cache
	fi
	between() {
		if is_true "$WERCKER_NPM_INSTALL_USE_CACHE" && is_true "$WERCKER_NPM_INSTALL_CLEAR_CACHE_ON_FAILED"; then
			rm -rf "${npm_config_cache:?}"
			# An empty directory would not be stored, and the bad cache would come back.
			mkdir -p "$npm_config_cache" && : >"$npm_config_cache/.keep"
		fi
	}
	# The options are words: the old step split them too.
	attempts 3 npm "$WERCKER_NPM_INSTALL_COMMAND" $WERCKER_NPM_INSTALL_OPTIONS ||
		fail "npm $WERCKER_NPM_INSTALL_COMMAND failed three times"
)
