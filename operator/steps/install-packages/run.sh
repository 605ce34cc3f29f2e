# apt, apk, dnf or yum, three tries, with apt's lists kept between builds.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	packages="$WERCKER_INSTALL_PACKAGES_PACKAGES"
	[ -n "$packages" ] || fail "packages is missing: write their names, for example packages: git curl"

	install_with_apt() {
		DEBIAN_FRONTEND=noninteractive
		export DEBIAN_FRONTEND
		release="$(. /etc/os-release 2>/dev/null && printf '%s-%s' "${ID-}" "${VERSION_CODENAME:-${VERSION_ID-}}")"
		cache="$WERCKER_CACHE_DIR/wercker/apt/${release:-unknown}"
		lists="$cache/lists"
		mkdir -p "$lists/partial" || fail "cannot make the directory $lists"
		archive_dead_release
		between() { rm -rf "${lists:?}" "$cache/updated" && mkdir -p "$lists/partial"; }
		if is_true "$WERCKER_INSTALL_PACKAGES_CLEAR_CACHE"; then
			between
		fi
		attempts 3 apt_once || fail "apt-get cannot install: $packages"
	}
	apt_once() {
		if [ -z "$(find "$cache/updated" -mmin -1440 2>/dev/null)" ]; then
			apt-get -o "Dir::State::Lists=$lists" $apt_options update && : >"$cache/updated" || return
		fi
		apt-get -o "Dir::State::Lists=$lists" $apt_options install -y $packages
	}
	apt_options=
	# Releases that have left the mirrors for the archive host, whose Release files have expired.
	archive_dead_release() {
		sources=/etc/apt/sources.list
		case "$release" in
		(debian-*wheezy* | debian-*jessie* | debian-*stretch* | debian-*buster* | debian-[789] | debian-10) ;;
		(*) return ;;
		esac
		if [ -f "$sources" ] && grep -qE '(deb|httpredir|security|ftp\.[a-z.]*)\.debian\.org' "$sources"; then
			warn "Debian ${release#debian-} is no longer on the mirrors: its packages are taken from archive.debian.org, without security updates"
			sed -i -e 's#//\(deb\|httpredir\|ftp\.[a-z.]*\)\.debian\.org#//archive.debian.org#g' \
				-e 's#//security\.debian\.org\(/debian-security\)\{0,1\}#//archive.debian.org/debian-security#g' \
				-e '/-updates/d' "$sources" || fail "cannot change $sources"
		fi
		apt_options='-o Acquire::Check-Valid-Until=false'
	}

	if have apt-get; then
		install_with_apt
	elif have apk; then
		warn "this box has apk: names of packages may differ from Debian's"
		attempts 3 apk add --no-cache $packages || fail "apk cannot install: $packages"
	elif have dnf; then
		warn "this box has dnf: names of packages may differ from Debian's"
		attempts 3 dnf install -y $packages || fail "dnf cannot install: $packages"
	elif have yum; then
		warn "this box has yum: names of packages may differ from Debian's"
		attempts 3 yum install -y $packages || fail "yum cannot install: $packages"
	else
		fail "this box has none of apt-get, apk, dnf and yum. Use a box that has the packages: $packages"
	fi
)
