# The program is executed, not sourced: its mode must have come through.
lines="$("$WERCKER_STEP_ROOT/bin/count" "$WERCKER_COUNT_LINES_PATH")" || fail "cannot count in $WERCKER_COUNT_LINES_PATH"

echo "lines: $lines"
echo "lines $lines" > "$WERCKER_REPORT_ARTIFACTS_DIR/lines.txt"

if [ -n "$WERCKER_COUNT_LINES_MOST" ] && [ "$lines" -gt "$WERCKER_COUNT_LINES_MOST" ]; then
  fail "$lines lines, and only $WERCKER_COUNT_LINES_MOST are allowed"
fi
setMessage "$lines lines"
