# nodebrew use, in the session. Boxes of today have one Node.js and no nodebrew: then that one must be the wanted one.
if (
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_NODEBREW_USE_VERSION" ] || fail "version is missing: write the Node.js to use, for example version: 4.2"
	if command -v nodebrew >/dev/null 2>&1; then
		exit 0
	fi
	wanted="${WERCKER_NODEBREW_USE_VERSION#v}"
	remedy="Use the box node:$wanted"
	have node || fail "this box has neither nodebrew nor Node.js. $remedy"
	found="$(node --version)" || fail "node does not start. $remedy"
	found="${found#v}"
	case "$found." in
	("$wanted".*) warn "this box has no nodebrew; its Node.js $found is used" ;;
	(*) fail "this box has no nodebrew, and its Node.js is $found, not $wanted. $remedy" ;;
	esac
	exit 9
); then
	if [ "$WERCKER_NODEBREW_USE_CREATE" = true ]; then
		nodebrew install-binary "$WERCKER_NODEBREW_USE_VERSION" || fail "nodebrew cannot install $WERCKER_NODEBREW_USE_VERSION"
	fi
	nodebrew use "$WERCKER_NODEBREW_USE_VERSION" || fail "nodebrew cannot use $WERCKER_NODEBREW_USE_VERSION"
else
	case $? in
	(9) ;;
	(*) return 1 ;;
	esac
fi
