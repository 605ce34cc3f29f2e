# The key of <keyname>_PRIVATE for ssh, outside of what is committed to an image.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	name="$WERCKER_ADD_SSH_KEY_KEYNAME"
	case "$name" in
	('') fail "keyname is blank. Write the variable's name without \$ and without _PRIVATE: for the key in DEPLOY_PRIVATE, keyname: DEPLOY" ;;
	(*_PRIVATE) fail "keyname is $name: leave out _PRIVATE" ;;
	([!A-Za-z_]* | *[!A-Za-z0-9_]*) fail "keyname is '$name', which cannot be the name of a variable" ;;
	esac
	eval "key=\${${name}_PRIVATE-}"
	[ -n "$key" ] || fail "the variable ${name}_PRIVATE is not set. Add it to spec.env of the Build, from a Secret"
	need ssh "Install the package openssh-client in an earlier step"
	umask 077
	# The session's own directory is in memory or on the node, and no part of the image.
	file="$(mktemp "${WERCKER_STEP_TEMP%/*}/ssh-key-XXXXXX")" || fail "cannot make a file for the key"
	case "$key" in
	(*'
'*) printf '%s\n' "$key" >"$file" ;;
	(*) printf '%b\n' "$key" >"$file" ;;
	esac || fail "cannot write the key"
	host="${WERCKER_ADD_SSH_KEY_HOST:-*}"
	config="$HOME/.ssh/config"
	mkdir -p "$HOME/.ssh" || fail "cannot make $HOME/.ssh"
	{
		printf 'Host %s\n  IdentityFile %s\n' "$host" "$file"
		[ ! -f "$config" ] || cat "$config"
	} >"$WERCKER_STEP_TEMP/config" && cat "$WERCKER_STEP_TEMP/config" >"$config" || fail "cannot write $config"
	info "ssh uses the key of ${name}_PRIVATE for $host"
)
