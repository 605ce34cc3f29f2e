# rvm use, in the session. Boxes of today have one Ruby and no rvm: then that one must be the wanted one.
if (
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_RVM_USE_VERSION" ] || fail "version is missing: write the Ruby to use, for example version: 2.1"
	if command -v rvm >/dev/null 2>&1; then
		exit 0
	fi
	wanted="${WERCKER_RVM_USE_VERSION#ruby-}"
	remedy="Use the box ruby:$wanted"
	have ruby || fail "this box has neither rvm nor Ruby. $remedy"
	found="$(ruby -e 'print RUBY_VERSION')" || fail "ruby does not start. $remedy"
	case "$found." in
	("$wanted".*) warn "this box has no rvm; its Ruby $found is used" ;;
	(*) fail "this box has no rvm, and its Ruby is $found, not $wanted. $remedy" ;;
	esac
	exit 9
); then
	if [ "$WERCKER_RVM_USE_CREATE" = true ]; then
		rvm use "$WERCKER_RVM_USE_VERSION" --install --create
	else
		rvm use "$WERCKER_RVM_USE_VERSION"
	fi || fail "rvm cannot use $WERCKER_RVM_USE_VERSION"
else
	case $? in
	(9) ;;
	(*) return 1 ;;
	esac
fi
