# Exports a variable whose name the user chose; later steps see it, because this file is sourced.
if [ -z "$WERCKER_MAKE_TEMP_ENVVAR" ]; then
  fail "envvar is missing: the name of the variable to export"
fi

case "$WERCKER_MAKE_TEMP_TYPE" in
  file) made="$(mktemp)" ;;
  directory) made="$(mktemp -d)" ;;
  *) fail "type is $WERCKER_MAKE_TEMP_TYPE; it may be file or directory" ;;
esac

info "$WERCKER_MAKE_TEMP_ENVVAR is $made"
export "$WERCKER_MAKE_TEMP_ENVVAR=$made"
unset made
