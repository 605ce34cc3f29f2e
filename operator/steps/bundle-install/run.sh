# bundle install, three tries. Settings are those of the project (.bundle/config): later `bundle exec` needs them too.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	gemfile="${WERCKER_BUNDLE_INSTALL_GEMFILE:-Gemfile}"
	if [ ! -f "$gemfile" ]; then
		warn "there is no $gemfile in $PWD, so there is nothing to install"
		exit 0
	fi
	if ! have bundle; then
		need gem "Use a box with Ruby, for example ruby:3.3"
		version="$WERCKER_BUNDLE_INSTALL_VERSION"
		if [ -z "$version" ] && [ -f "$gemfile.lock" ]; then
			# The line below BUNDLED WITH.
			version="$(awk 'found { print $1; exit } /^BUNDLED WITH/ { found = 1 }' "$gemfile.lock")"
		fi
		if [ -z "$version" ]; then
			# The newest Bundler refuses old Rubies.
			case "$(ruby -e 'print RUBY_VERSION')" in
			(1.* | 2.[0-2].*) version='~> 1.17' ;;
			(2.*) version='< 2.5' ;;
			(*) version='>= 0' ;;
			esac
		fi
		gem install bundler --no-document -v "$version" || fail "cannot install Bundler $version"
		hash -r 2>/dev/null
		have bundle || fail "Bundler was installed, and there is still no program bundle on PATH"
	fi
	path="${WERCKER_BUNDLE_INSTALL_PATH:-$WERCKER_CACHE_DIR/bundle-install}"

	# set_option NAME VALUE: for this project. Bundler 1 before 1.17 takes it without `set`.
	set_option() {
		bundle config set --local "$1" "$2" >/dev/null 2>&1 || bundle config --local "$1" "$2" >/dev/null ||
			fail "cannot set $1 of Bundler"
	}
	if [ "$gemfile" != Gemfile ]; then
		BUNDLE_GEMFILE="$PWD/$gemfile"
		case "$gemfile" in
		(/*) BUNDLE_GEMFILE="$gemfile" ;;
		esac
		export BUNDLE_GEMFILE
	fi
	set_option path "$path"
	[ -z "$WERCKER_BUNDLE_INSTALL_WITHOUT" ] || set_option without "$WERCKER_BUNDLE_INSTALL_WITHOUT"
	[ -z "$WERCKER_BUNDLE_INSTALL_BINSTUBS" ] || set_option bin "$WERCKER_BUNDLE_INSTALL_BINSTUBS"
	is_true "$WERCKER_BUNDLE_INSTALL_CLEAN" && set_option clean true
	is_true "$WERCKER_BUNDLE_INSTALL_DEPLOYMENT" && set_option deployment true
	is_true "$WERCKER_BUNDLE_INSTALL_FROZEN" && set_option frozen true
	set -- --retry "${WERCKER_BUNDLE_INSTALL_RETRY:-3}"
	case "$WERCKER_BUNDLE_INSTALL_JOBS" in
	('' | 0) ;;
	(*) set -- "$@" --jobs "$WERCKER_BUNDLE_INSTALL_JOBS" ;;
	esac
	is_true "$WERCKER_BUNDLE_INSTALL_FULL_INDEX" && set -- "$@" --full-index
	is_true "$WERCKER_BUNDLE_INSTALL_LOCAL" && set -- "$@" --local
	case "$WERCKER_BUNDLE_INSTALL_STANDALONE" in
	('' | false) ;;
	(true) set -- "$@" --standalone ;;
	(*) set -- "$@" --standalone $WERCKER_BUNDLE_INSTALL_STANDALONE ;;
	esac
	between() { is_true "$WERCKER_BUNDLE_INSTALL_CLEAR_PATH" && rm -rf "${path:?}"; }
	attempts 3 bundle install "$@" || fail "bundle install failed three times"
	if have rbenv; then
		rbenv rehash || fail "rbenv rehash failed"
	fi
)
