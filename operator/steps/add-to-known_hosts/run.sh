# ssh-keyscan, checked against a fingerprint.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	host="$WERCKER_ADD_TO_KNOWN_HOSTS_HOSTNAME"
	[ -n "$host" ] || fail "hostname is missing"
	case "$host" in
	(-*) fail "hostname is '$host', which is no host's name" ;;
	esac
	need ssh-keyscan "Install the package openssh-client in an earlier step"
	if is_true "$WERCKER_ADD_TO_KNOWN_HOSTS_LOCAL"; then
		target="$HOME/.ssh/known_hosts"
		mkdir -p "$HOME/.ssh" && chmod 700 "$HOME/.ssh" || fail "cannot make $HOME/.ssh"
	else
		target=/etc/ssh/ssh_known_hosts
		[ -d "${target%/*}" ] || fail "there is no directory ${target%/*}. Install openssh-client, or set local to true"
	fi
	# OpenSSH knows no DSA any more, and ends with an error where it is asked for.
	types=
	for each in $(printf '%s' "$WERCKER_ADD_TO_KNOWN_HOSTS_TYPE" | tr ',' ' ') ed25519; do
		case "$each,$types," in
		(dsa,*) ;;
		(*",$each,"*) ;;
		(*) types="${types:+$types,}$each" ;;
		esac
	done
	set -- -t "$types"
	[ -z "$WERCKER_ADD_TO_KNOWN_HOSTS_PORT" ] || set -- "$@" -p "$WERCKER_ADD_TO_KNOWN_HOSTS_PORT"
	[ -z "$WERCKER_ADD_TO_KNOWN_HOSTS_TIMEOUT" ] || set -- "$@" -T "$WERCKER_ADD_TO_KNOWN_HOSTS_TIMEOUT"
	scanned="$WERCKER_STEP_TEMP/scanned"
	ssh-keyscan "$@" "$host" >"$scanned" 2>"$WERCKER_STEP_TEMP/scan.txt"
	if [ ! -s "$scanned" ]; then
		cat "$WERCKER_STEP_TEMP/scan.txt"
		fail "$host gave no key. Check hostname and port"
	fi
	wanted="$WERCKER_ADD_TO_KNOWN_HOSTS_FINGERPRINT"
	if [ -z "$wanted" ]; then
		warn "no fingerprint is given, so every key of $host is taken, whoever answered"
		cat "$scanned" >>"$target" || fail "cannot write $target"
		exit 0
	fi
	need ssh-keygen "Install the package openssh-client in an earlier step"
	case "$wanted" in
	(MD5:*) kind=md5 wanted="${wanted#MD5:}" ;;
	(SHA256:*) kind=sha256 wanted="${wanted#SHA256:}" ;;
	(??:??:*) kind=md5 ;;
	(*) kind=sha256 ;;
	esac
	found= matched=
	while IFS= read -r line; do
		case "$line" in
		('' | '#'*) continue ;;
		esac
		printf '%s\n' "$line" >"$WERCKER_STEP_TEMP/key"
		# Old clients know MD5 alone, and no -E.
		shown="$(ssh-keygen -l -E "$kind" -f "$WERCKER_STEP_TEMP/key" 2>/dev/null || ssh-keygen -l -f "$WERCKER_STEP_TEMP/key")"
		shown="${shown#* }" && shown="${shown%% *}"
		if [ "${shown#*[A-Z0-9]:}" = "$wanted" ] || [ "${shown#MD5:}" = "$wanted" ] || [ "${shown#SHA256:}" = "$wanted" ]; then
			printf '%s\n' "$line" >>"$target" || fail "cannot write $target"
			matched=yes
		fi
		found="${found:+$found, }$shown"
	done <"$scanned"
	if [ -n "$matched" ]; then
		info "$host: the key with fingerprint $wanted is in $target"
		exit 0
	fi
	case "$wanted" in
	(16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48 | nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8)
		fail "$wanted was github.com's RSA key until March 2023, when it was replaced. github.com has now: $found. Compare with what GitHub publishes, and put one of them into fingerprint"
		;;
	esac
	fail "no key of $host has the fingerprint $wanted. It has: $found"
)
