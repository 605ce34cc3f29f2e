# Works in $WERCKER_STEP_TEMP, which some platforms leave unset.
render_temp="${WERCKER_STEP_TEMP:-/tmp}"
render_output="${WERCKER_RENDER_OUTPUT:-${WERCKER_RENDER_TEMPLATE%.template}}"

if [ ! -f "$WERCKER_RENDER_TEMPLATE" ]; then
  error "there is no $WERCKER_RENDER_TEMPLATE"
  setMessage "there is no template $WERCKER_RENDER_TEMPLATE"
  return 1
fi

mkdir -p "$render_temp"
{
  echo "cat <<RENDER_END"
  cat "$WERCKER_RENDER_TEMPLATE"
  echo "RENDER_END"
} > "$render_temp/render.sh"
( . "$render_temp/render.sh" ) > "$render_temp/rendered" || fail "cannot fill $WERCKER_RENDER_TEMPLATE"
mv "$render_temp/rendered" "$render_output"
debug "rendered $render_output"
