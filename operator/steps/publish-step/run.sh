# Packs a step's directory and uploads it to a step registry.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	owner="$WERCKER_PUBLISH_STEP_OWNER"
	endpoint="${WERCKER_PUBLISH_STEP_ENDPOINT:-${STEP_REGISTRY_URL-}}"
	token="${WERCKER_PUBLISH_STEP_AUTH_TOKEN:-${STEP_REGISTRY_TOKEN-}}"
	[ -n "$owner" ] || fail "owner is missing"
	case "$endpoint" in
	('') fail "endpoint is missing: write the registry's URL, or set STEP_REGISTRY_URL" ;;
	(http://?* | https://?*) endpoint="${endpoint%/}" ;;
	(*) fail "endpoint is $endpoint: write a URL that begins with http:// or https://" ;;
	esac
	[ -n "$token" ] || fail "auth-token is missing: write the registry's publish token, or set STEP_REGISTRY_TOKEN"
	directory="$WERCKER_SOURCE_DIR/$WERCKER_PUBLISH_STEP_PATH"
	[ -d "$directory" ] || fail "path is $WERCKER_PUBLISH_STEP_PATH, and there is no directory $directory"
	manifest=
	for file in step.yml wercker-step.yml; do
		[ -n "$manifest" ] || [ ! -f "$directory/$file" ] || manifest="$file"
	done
	[ -n "$manifest" ] || fail "there is no step.yml in $directory"
	# value_of KEY: a key of the manifest's top level. The registry reads the manifest again, and compares.
	value_of() {
		sed -n "s/^$1:[[:space:]]*//p" "$directory/$manifest" | sed -e 's/[[:space:]]#.*$//' -e 's/[[:space:]]*$//' \
			-e "s/^'\(.*\)'\$/\1/" -e 's/^"\(.*\)"$/\1/' -e q
	}
	need sed
	name="$(value_of name)" version="$(value_of version)"
	[ -n "$name" ] || fail "$manifest has no name: write a line such as name: my-step"
	[ -n "$version" ] || fail "$manifest has no version: write a line such as version: 1.0.0"
	version="${version#v}"
	archive="$WERCKER_STEP_TEMP/step.tar.gz"
	"$boxkit" pack "$directory" "$archive" || fail "$directory was not packed"
	query=
	! is_true "$WERCKER_PUBLISH_STEP_PRIVATE" || query='?private=true'
	http_body="$archive"
	http PUT "$endpoint/api/steps/$(url_escape "$owner")/$(url_escape "$name")/$(url_escape "$version")$query" \
		"Authorization: Bearer $token" 'Content-Type: application/gzip' \
		</dev/null >"$WERCKER_STEP_TEMP/answer" || {
		words="$("$boxkit" json get message <"$WERCKER_STEP_TEMP/answer" 2>/dev/null)" ||
			words="$(head -c 200 "$WERCKER_STEP_TEMP/answer" | tr -d '\000-\037')"
		fail "$owner/$name@$version was not published: $(http_failure)${words:+: $words}"
	}
	success "published $owner/$name@$version"
)
