#!/bin/bash
# An after-step: the result of the steps before it is in WERCKER_RESULT and WERCKER_FAILED_STEP_*.

if [ -z "$WERCKER_NOTIFY_ROOM" ]; then
  fail "room is missing"
fi

if [ "$WERCKER_NOTIFY_NOTIFY_ON" = "failed" ] && [ "$WERCKER_RESULT" = "passed" ]; then
  info "it passed, and only failures are told"
  return 0
fi

# Deploys have a target and a URL of their own.
if [ -n "$DEPLOY" ]; then
  export NOTIFY_ACTION="deploy to ${WERCKER_DEPLOYTARGET_NAME}"
  export NOTIFY_URL="$WERCKER_DEPLOY_URL"
else
  export NOTIFY_ACTION="build"
  export NOTIFY_URL="$WERCKER_BUILD_URL"
fi

if [ "$WERCKER_RESULT" = "passed" ]; then
  NOTIFY_TEXT="${WERCKER_NOTIFY_PASSED_MESSAGE:-$NOTIFY_ACTION of $WERCKER_GIT_REPOSITORY ($WERCKER_GIT_BRANCH) passed}"
else
  NOTIFY_TEXT="${WERCKER_NOTIFY_FAILED_MESSAGE:-$NOTIFY_ACTION of $WERCKER_GIT_REPOSITORY ($WERCKER_GIT_BRANCH) failed}"
  NOTIFY_TEXT="$NOTIFY_TEXT at $WERCKER_FAILED_STEP_DISPLAY_NAME: $WERCKER_FAILED_STEP_MESSAGE"
fi

printf '{"result": "%s", "text": "%s", "by": "%s", "url": "%s"}\n' \
  "$WERCKER_RESULT" "$NOTIFY_TEXT" "$WERCKER_STARTED_BY" "$NOTIFY_URL" >> "$WERCKER_NOTIFY_ROOM" \
  || fail "cannot post to $WERCKER_NOTIFY_ROOM"
success "told $WERCKER_NOTIFY_ROOM"
