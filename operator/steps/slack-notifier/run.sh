# One message to a Slack webhook, with the colour of the result.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	url="$WERCKER_SLACK_NOTIFIER_URL"
	[ -n "$url" ] || fail "url is missing: write the address of an incoming webhook"
	what_ended
	if [ "$WERCKER_SLACK_NOTIFIER_NOTIFY_ON" = failed ] && [ "$result" = passed ]; then
		info "the build passed, and notify_on is failed: nothing to send"
		exit 0
	fi
	if [ -n "$WERCKER_SLACK_NOTIFIER_BRANCH" ] && [ "$WERCKER_SLACK_NOTIFIER_BRANCH" != "$branch" ]; then
		info "the branch is $branch, not $WERCKER_SLACK_NOTIFIER_BRANCH: nothing to send"
		exit 0
	fi
	text="$subject of $application by $starter $result${branch:+ on branch $branch}"
	[ -z "$link" ] || text="<$link|$subject> of $application by $starter $result${branch:+ on branch $branch}"
	if [ "$result" = passed ]; then
		colour=good
	else
		colour=danger
		text="$text${failed_step:+. Failed step: $failed_step}"
	fi
	text="${WERCKER_SLACK_NOTIFIER_CUSTOM_MESSAGE:-$text}"
	colour="${WERCKER_SLACK_NOTIFIER_CUSTOM_COLOR:-$colour}"
	channel="${WERCKER_SLACK_NOTIFIER_CHANNEL#\#}"
	{
		printf '{'
		[ -z "$channel" ] || printf '"channel":%s,' "$(json "#$channel")"
		[ -z "$WERCKER_SLACK_NOTIFIER_ICON_URL" ] || printf '"icon_url":%s,' "$(json "$WERCKER_SLACK_NOTIFIER_ICON_URL")"
		[ -z "$WERCKER_SLACK_NOTIFIER_ICON_EMOJI" ] || printf '"icon_emoji":%s,' "$(json "$WERCKER_SLACK_NOTIFIER_ICON_EMOJI")"
		printf '"username":%s,"attachments":[{"fallback":%s,"text":%s,"color":%s}]}' \
			"$(json "$WERCKER_SLACK_NOTIFIER_USERNAME")" "$(json "$text")" "$(json "$text")" "$(json "$colour")"
	} | post_json "$url"
) && info "Slack has the message"
