# The manifest has the old name and the old shape; `times` and `loud` come from its defaults, as texts.
greeting="hello $WERCKER_GREET_WHOM"
if [ "$WERCKER_GREET_LOUD" = "yes" ] || [ "$WERCKER_GREET_LOUD" = "true" ]; then
  greeting="$greeting!"
fi
count=0
while [ "$count" -lt "$WERCKER_GREET_TIMES" ]; do
  echo "$greeting"
  count=$((count + 1))
done
