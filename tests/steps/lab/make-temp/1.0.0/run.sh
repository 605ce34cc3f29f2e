# Exports a variable whose name the user chose; later steps see it, because this file is sourced.
if [ -z "$WERCKER_MAKE_TEMP_ENVVAR" ]; then
  fail "envvar is missing: the name of the variable to export"
fi
export "$WERCKER_MAKE_TEMP_ENVVAR=$(mktemp)"
