# Beside the source, not in it: what is copied must not hold the copy.
export WORKSPACE="$WERCKER_STEP_ROOT/workspace"
export WORKSPACE_PACKAGE="$WORKSPACE/src/$WERCKER_SETUP_WORKSPACE_PACKAGE_DIR"
export PATH="$WORKSPACE/bin:$PATH"

mkdir -p "$WORKSPACE/bin" "$(dirname "$WORKSPACE_PACKAGE")"
cp -R "$WERCKER_SOURCE_DIR" "$WORKSPACE_PACKAGE" || fail "cannot copy the source"

# Not exported, and there all the same in the next step.
workspace_since="$(date +%s)"
workspace_say "the source is at $WORKSPACE_PACKAGE"
