#!/bin/bash
# Prints with %b, as steps have done ever since values arrived with \n in place of newlines.

write_file() {
  local filename="$1"
  if [[ -e "$filename" && "$WERCKER_WRITE_FILE_OVERWRITE" != "true" ]]; then
    fail "$filename is there already, and overwrite is not true"
  fi
  mkdir -p "$(dirname "$filename")"
  printf '%b\n' "$WERCKER_WRITE_FILE_CONTENT" > "$filename"
  success "wrote $filename"
}

if [ -z "$WERCKER_WRITE_FILE_FILENAME" ]; then
  fail "filename is missing"
fi
write_file "$WERCKER_WRITE_FILE_FILENAME"
