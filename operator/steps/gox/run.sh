# go build, in a loop. Pairs that this Go does not have are left out.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	need go "Use a box with Go, for example golang:1.22"
	dest="${WERCKER_GOX_DEST:-$WERCKER_OUTPUT_DIR/pkg}"
	known="$(go tool dist list 2>/dev/null)"
	name="${PWD##*/}"
	count=0
	for os in $WERCKER_GOX_OS; do
		for arch in $WERCKER_GOX_ARCH; do
			if [ -n "$known" ]; then
				case "
$known
" in
				(*"
$os/$arch
"*) ;;
				(*) continue ;;
				esac
			fi
			file="$(printf '%s' "$WERCKER_GOX_OUTPUT" | sed -e "s|{{ *\\.OS *}}|$os|g" -e "s|{{ *\\.Arch *}}|$arch|g" -e "s|{{ *\\.Dir *}}|$name|g")"
			[ "$os" != windows ] || file="$file.exe"
			mkdir -p "$dest/${file%/*}" 2>/dev/null
			info "$os/$arch: $file"
			GOOS="$os" GOARCH="$arch" CGO_ENABLED=0 go build -ldflags "$WERCKER_GOX_LDFLAGS" -o "$dest/$file" . || fail "go build failed for $os/$arch"
			count=$((count + 1))
		done
	done
	[ "$count" -gt 0 ] || fail "no pair of os and arch is one that this Go has"
)
