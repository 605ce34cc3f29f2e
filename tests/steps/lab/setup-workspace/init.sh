# Sourced before run.sh, and once more wherever a later step needs a new shell: functions only.
workspace_say() {
  echo "workspace: $*"
}
