# One message to a Slack webhook, with links.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	url="$WERCKER_PRETTY_SLACK_NOTIFY_WEBHOOK_URL"
	[ -n "$url" ] || fail "webhook_url is missing: write the address of an incoming webhook"
	what_ended
	wanted="$WERCKER_PRETTY_SLACK_NOTIFY_NOTIFY_ON"
	if [ -n "$wanted" ] && [ "$wanted" != "$result" ]; then
		info "the build $result, and notify_on is $wanted: nothing to send"
		exit 0
	fi
	if [ -n "$WERCKER_PRETTY_SLACK_NOTIFY_BRANCHES" ]; then
		printf '%s\n' "$branch" | grep -qE -e "$WERCKER_PRETTY_SLACK_NOTIFY_BRANCHES"
		case $? in
		(0) ;;
		(1)
			info "the branch $branch does not match $WERCKER_PRETTY_SLACK_NOTIFY_BRANCHES: nothing to send"
			exit 0
			;;
		(*) fail "branches is '$WERCKER_PRETTY_SLACK_NOTIFY_BRANCHES', which is not an extended regular expression" ;;
		esac
	fi
	if [ "$result" = passed ]; then
		colour=good more="$WERCKER_PRETTY_SLACK_NOTIFY_PASSED_MESSAGE"
	else
		colour=danger more="$WERCKER_PRETTY_SLACK_NOTIFY_FAILED_MESSAGE"
	fi
	shown="$subject"
	[ -z "$link" ] || shown="<$link|$subject>"
	commit="${WERCKER_GIT_COMMIT-}"
	commit="${commit%"${commit#????????}"}"
	place=
	if [ -n "${WERCKER_GIT_DOMAIN-}" ] && [ -n "$commit" ]; then
		home="https://$WERCKER_GIT_DOMAIN/${WERCKER_GIT_OWNER-}/${WERCKER_GIT_REPOSITORY-}"
		place=" of <$home|${WERCKER_GIT_OWNER-}/${WERCKER_GIT_REPOSITORY-}> at <$home/commit/$WERCKER_GIT_COMMIT|$commit>"
	fi
	text="$shown$place by $starter $result${branch:+ on branch $branch}${failed_step:+. Failed step: $failed_step}${more:+
$more}"
	{
		printf '{'
		[ -z "$WERCKER_PRETTY_SLACK_NOTIFY_CHANNEL" ] || printf '"channel":%s,' "$(json "$WERCKER_PRETTY_SLACK_NOTIFY_CHANNEL")"
		printf '"username":%s,"attachments":[{"fallback":%s,"text":%s,"color":"%s"}]}' \
			"$(json "$WERCKER_PRETTY_SLACK_NOTIFY_USERNAME")" "$(json "$text")" "$(json "$text")" "$colour"
	} | post_json "$url"
) && info "Slack has the message"
