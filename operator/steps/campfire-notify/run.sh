# Campfire does not exist any more: the message is in the log, and the step passes.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	what_ended
	text="$application: $subject${branch:+ of $branch} by $starter $result"
	if [ "$result" = passed ]; then
		text="${WERCKER_CAMPFIRE_NOTIFY_PASSED_MESSAGE:-$text}"
	else
		text="${WERCKER_CAMPFIRE_NOTIFY_FAILED_MESSAGE:-$text}"
	fi
	warn "Campfire was closed: nothing is sent. Remove the step, or use slack-notifier"
	printf '%s\n' "$text"
)
