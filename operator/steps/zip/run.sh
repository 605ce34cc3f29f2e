# A zip file for each directory of input.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	need zip "Install the package zip in an earlier step"
	input="${WERCKER_ZIP_INPUT:-$WERCKER_OUTPUT_DIR/pkg}"
	[ -d "$input" ] || fail "input is $input, and there is no such directory"
	output="${WERCKER_ZIP_OUTPUT:-$input/dist}"
	mkdir -p "$output" && output="$(cd "$output" && pwd)" || fail "cannot make $output"
	count=0
	for directory in "$input"/*/; do
		directory="${directory%/}"
		[ -d "$directory" ] && [ "$(cd "$directory" && pwd)" != "$output" ] || continue
		(cd "$directory" && zip -q -r "$output/${directory##*/}.zip" .) || fail "cannot zip $directory"
		count=$((count + 1))
	done
	[ "$count" -gt 0 ] || fail "there is no directory in $input"
	(cd "$output" && sha1sum -- *.zip >SHASUMS) || fail "cannot write $output/SHASUMS"
	info "$count zip files are in $output"
)
