# The source at $GOPATH/src/<package>, as Go wanted it before modules.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	gopath="${WERCKER_SETUP_GO_WORKSPACE_GOPATH:-${GOPATH-}}"
	gopath="${gopath%%:*}"
	[ -n "$gopath" ] || fail "GOPATH is not set. Use a box with Go, for example golang:1.10, or set the option gopath"
	package="$WERCKER_SETUP_GO_WORKSPACE_PACKAGE_DIR"
	if [ -z "$package" ]; then
		if [ -z "${WERCKER_GIT_DOMAIN-}" ] || [ -z "${WERCKER_GIT_OWNER-}" ] || [ -z "${WERCKER_GIT_REPOSITORY-}" ]; then
			fail "the source is not from git, so the package has no name. Set package-dir, for example to example.com/owner/project"
		fi
		package="$WERCKER_GIT_DOMAIN/$WERCKER_GIT_OWNER/$WERCKER_GIT_REPOSITORY"
	fi
	target="$gopath/src/$package"
	if [ "$target" != "$WERCKER_SOURCE_DIR" ]; then
		rm -rf "${target:?}"
		mkdir -p "$target" && cp -R "$WERCKER_SOURCE_DIR/." "$target/" ||
			fail "cannot copy the source from $WERCKER_SOURCE_DIR to $target"
	fi
	info "the source is at $target"
	module=
	if have go && [ ! -f "$target/go.mod" ] && [ -z "${GO111MODULE-}" ]; then
		case "$(go version)" in
		(*go1.[0-9] | *go1.[0-9][!0-9]* | *go1.1[0-5]*) ;;
		(*)
			warn "the project has no go.mod, and this Go wants one: GO111MODULE is off from here on"
			module=off
			;;
		esac
	fi
	result "$target
$module"
) && {
	{
		IFS= read -r WERCKER_SOURCE_DIR
		IFS= read -r WERCKER_STEP_VALUE || :
	} <"$WERCKER_STEP_TEMP/result"
	export WERCKER_SOURCE_DIR
	if [ -n "$WERCKER_STEP_VALUE" ]; then
		export GO111MODULE="$WERCKER_STEP_VALUE"
	fi
	unset WERCKER_STEP_VALUE
}
