# One mail by SMTP, with TLS where the server offers it, and always before the password.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	what_ended
	for each in FROM TO USERNAME PASSWORD HOST; do
		eval "value=\$WERCKER_EMAIL_NOTIFY_$each"
		[ -n "$value" ] || fail "$(printf '%s' "$each" | tr 'A-Z' 'a-z') is missing"
	done
	if [ "$WERCKER_EMAIL_NOTIFY_ON" = failed ] && [ "$result" = passed ]; then
		info "the build passed, and on is failed: nothing to send"
		exit 0
	fi
	if [ -n "$WERCKER_EMAIL_NOTIFY_BRANCH" ] && [ "$WERCKER_EMAIL_NOTIFY_BRANCH" != "$branch" ]; then
		info "the branch is $branch, not $WERCKER_EMAIL_NOTIFY_BRANCH: nothing to send"
		exit 0
	fi
	mail_subject="$application: $subject${branch:+ of $branch} $result"
	mail_body="$mail_subject${failed_step:+
Failed step: $failed_step}${link:+
$link}"
	if [ "$result" = passed ]; then
		mail_subject="${WERCKER_EMAIL_NOTIFY_PASSED_SUBJECT:-$mail_subject}"
		mail_body="${WERCKER_EMAIL_NOTIFY_PASSED_BODY:-$mail_body}"
	else
		mail_subject="${WERCKER_EMAIL_NOTIFY_FAILED_SUBJECT:-$mail_subject}"
		mail_body="${WERCKER_EMAIL_NOTIFY_FAILED_BODY:-$mail_body}"
	fi
	host="$WERCKER_EMAIL_NOTIFY_HOST"
	case "$host" in
	(*:*) ;;
	(*) host="$host:${WERCKER_EMAIL_NOTIFY_PORT:-587}" ;;
	esac
	{
		printf '{"host":%s,"username":%s,"password":%s,' "$(json "$host")" \
			"$(json "$WERCKER_EMAIL_NOTIFY_USERNAME")" "$(json "$WERCKER_EMAIL_NOTIFY_PASSWORD")"
		printf '"from":%s,"to":%s,"subject":%s,"body":%s}' "$(json "$WERCKER_EMAIL_NOTIFY_FROM")" \
			"$(json "$WERCKER_EMAIL_NOTIFY_TO")" "$(json "$mail_subject")" "$(json "$mail_body")"
	} | "$boxkit" mail 2>"$WERCKER_STEP_TEMP/mail.txt" || fail "the mail was not sent: $(cat "$WERCKER_STEP_TEMP/mail.txt")"
) && info "the mail server has the mail"
