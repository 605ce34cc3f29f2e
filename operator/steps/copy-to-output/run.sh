# The source's root into the output directory.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	stage="$WERCKER_OUTPUT_DIR"
	mkdir -p "$stage" || fail "cannot make $stage"
	count=0
	for each in "$WERCKER_ROOT"/* "$WERCKER_ROOT"/.[!.]*; do
		[ -e "$each" ] || continue
		for name in $WERCKER_COPY_TO_OUTPUT_EXCLUDE; do
			[ "${each##*/}" != "${name%/}" ] || continue 2
		done
		cp -R "$each" "$stage/" || fail "cannot copy ${each##*/}"
		count=$((count + 1))
	done
	info "copied $count entries of the source to the output"
)
