# composer install, three tries.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	provide composer
	set -- --no-interaction
	is_true "$WERCKER_COMPOSER_INSTALL_DEV" || set -- "$@" --no-dev
	if is_true "$WERCKER_COMPOSER_INSTALL_USE_CACHE"; then
		COMPOSER_CACHE_DIR="$WERCKER_CACHE_DIR/bashaus/composer-install"
		mkdir -p "$COMPOSER_CACHE_DIR" || fail "cannot make the cache directory $COMPOSER_CACHE_DIR"
		export COMPOSER_CACHE_DIR
	fi
	between() {
		if is_true "$WERCKER_COMPOSER_INSTALL_CLEAR_CACHE_ON_FAILED" && is_true "$WERCKER_COMPOSER_INSTALL_USE_CACHE"; then
			rm -rf "${COMPOSER_CACHE_DIR:?}" && mkdir -p "$COMPOSER_CACHE_DIR"
		fi
	}
	attempts 3 "$tool" install "$@" $WERCKER_COMPOSER_INSTALL_OPTS || fail "composer install failed three times"
)
