# A file with the content that wercker.yml has.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	file="$WERCKER_CREATE_FILE_FILENAME"
	[ -n "$file" ] || fail "filename is missing: write the file to create"
	if [ -e "$file" ] && ! is_true "$WERCKER_CREATE_FILE_OVERWRITE"; then
		fail "$file exists. Set overwrite to true to replace it"
	fi
	content="$WERCKER_CREATE_FILE_CONTENT"
	[ -n "$content" ] || warn "content is empty, so $file is too"
	case "$content" in
	(*'
'*) format='%s\n' ;;
	# Keys and certificates come in one line, with \n for the ends of theirs.
	(*'\n'*) format='%b\n' ;;
	('') format='%s' ;;
	(*) format='%s\n' ;;
	esac
	case "$content" in
	(*'PRIVATE KEY-----'*) umask 077 && rm -f "$file" ;;
	esac
	printf "$format" "$content" >"$file" || fail "cannot write $file"
	if is_true "$WERCKER_CREATE_FILE_HIDE_FROM_LOG"; then
		info "wrote $file"
	else
		info "wrote $file:"
		cat "$file"
	fi
)
