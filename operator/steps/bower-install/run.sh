# bower install, three tries.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	if [ -x node_modules/.bin/bower ] && ! have bower; then
		tool=node_modules/.bin/bower
	else
		provide bower
	fi
	set -- --allow-root
	if is_true "$WERCKER_BOWER_INSTALL_USE_CACHE"; then
		mkdir -p "$WERCKER_CACHE_DIR/wercker/bower" || fail "cannot make the cache directory"
		set -- "$@" "--config.storage.packages=$WERCKER_CACHE_DIR/wercker/bower"
	fi
	# Bower ends with 6 where it only warns.
	once() {
		"$tool" install "$@" $WERCKER_BOWER_INSTALL_OPTIONS
		status=$?
		[ "$status" -ne 6 ] || { warn "Bower ended with warnings (code 6)" && return 0; }
		return "$status"
	}
	attempts 3 once "$@" || fail "bower install failed three times"
)
