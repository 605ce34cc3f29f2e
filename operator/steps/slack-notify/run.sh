# One message to a Slack webhook.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	url="$WERCKER_SLACK_NOTIFY_URL"
	if [ -z "$url" ]; then
		fail "Slack switched off the address that is made of subdomain and token. Make an incoming webhook, and write its address as url"
	fi
	what_ended
	case "${WERCKER_SLACK_NOTIFY_ON:-always}" in
	(always | "$result") ;;
	(*)
		info "the build $result, and on is $WERCKER_SLACK_NOTIFY_ON: nothing to send"
		exit 0
		;;
	esac
	text="$application: $subject${branch:+ of $branch} $result${failed_step:+ at $failed_step}${link:+ $link}"
	if [ "$result" = passed ]; then
		text="${WERCKER_SLACK_NOTIFY_PASSED_MESSAGE:-$text}"
	else
		text="${WERCKER_SLACK_NOTIFY_FAILED_MESSAGE:-$text}"
	fi
	{
		printf '{'
		[ -z "$WERCKER_SLACK_NOTIFY_CHANNEL" ] || printf '"channel":%s,' "$(json "$WERCKER_SLACK_NOTIFY_CHANNEL")"
		[ -z "$WERCKER_SLACK_NOTIFY_ICON_URL" ] || printf '"icon_url":%s,' "$(json "$WERCKER_SLACK_NOTIFY_ICON_URL")"
		[ -z "$WERCKER_SLACK_NOTIFY_ICON_EMOJI" ] || printf '"icon_emoji":%s,' "$(json "$WERCKER_SLACK_NOTIFY_ICON_EMOJI")"
		printf '"username":%s,"text":%s}' "$(json "$WERCKER_SLACK_NOTIFY_USERNAME")" "$(json "$text")"
	} | post_json "$url"
) && info "Slack has the message"
