# A top-level `return 0` is how steps stop early: the file is sourced, and `exit` would end the shell.
if [ -n "$WERCKER_ONLY_ON_BRANCHES" ]; then
  if [[ ! "$WERCKER_GIT_BRANCH" =~ $WERCKER_ONLY_ON_BRANCHES ]]; then
    info "branch $WERCKER_GIT_BRANCH is none of $WERCKER_ONLY_ON_BRANCHES: skipped"
    return 0
  fi
fi
echo "$WERCKER_ONLY_ON_TEXT"
