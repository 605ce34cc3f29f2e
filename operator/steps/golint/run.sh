# golint, with thresholds. Its findings are in lint_results.txt in the current directory.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	provide golint
	for each in "$WERCKER_GOLINT_THRESHOLD_WARN" "$WERCKER_GOLINT_THRESHOLD_FAIL"; do
		case "$each" in
		('' | *[!0-9]*) fail "threshold-warn and threshold-fail are whole numbers, not '$each'" ;;
		esac
	done
	"$tool" ./... >"$WERCKER_STEP_TEMP/all.txt" || fail "golint failed with code $?"
	if [ -n "$WERCKER_GOLINT_EXCLUDE" ]; then
		grep -vE -e "$WERCKER_GOLINT_EXCLUDE" "$WERCKER_STEP_TEMP/all.txt" >lint_results.txt
		[ $? -le 1 ] || fail "exclude is '$WERCKER_GOLINT_EXCLUDE', which is not an extended regular expression"
	else
		cat "$WERCKER_STEP_TEMP/all.txt" >lint_results.txt
	fi
	cat lint_results.txt
	count=0
	while IFS= read -r each; do
		count=$((count + 1))
	done <lint_results.txt
	if [ "$count" -ge "$WERCKER_GOLINT_THRESHOLD_FAIL" ]; then
		fail "golint found $count problems; the step fails from $WERCKER_GOLINT_THRESHOLD_FAIL on"
	elif [ "$count" -ge "$WERCKER_GOLINT_THRESHOLD_WARN" ]; then
		warn "golint found $count problems"
		setMessage "golint found $count problems"
	elif [ "$count" -gt 0 ]; then
		setMessage "golint found $count problems"
	fi
)
