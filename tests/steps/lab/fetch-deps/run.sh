#!/bin/bash
# Every line of the list is one dependency. The first build "downloads" it into the cache, later ones find it there.

deps_cache="$WERCKER_CACHE_DIR/lab/fetch-deps"

fetch_dep() {
  local name="$1"
  if [[ -f "$deps_cache/$name" ]]; then
    echo "$name: from the cache"
  else
    echo "$name: downloaded"
    echo "this is $name" > "$deps_cache/$name"
  fi
  cp "$deps_cache/$name" "$WERCKER_FETCH_DEPS_INTO/$name"
}

main() {
  mkdir -p "$deps_cache" "$WERCKER_FETCH_DEPS_INTO"
  local dep
  while read -r dep; do
    if [ -n "$dep" ]; then fetch_dep "$dep"; fi
  done < "$WERCKER_FETCH_DEPS_LIST"
}

if [ ! -f "$WERCKER_FETCH_DEPS_LIST" ]; then
  warn "there is no $WERCKER_FETCH_DEPS_LIST, so there is nothing to fetch"
  return 0
fi
main
