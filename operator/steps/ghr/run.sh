# A release on GitHub with every file of a directory.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	token="$WERCKER_GHR_TOKEN"
	[ -n "$token" ] || fail "token is missing"
	input="${WERCKER_GHR_INPUT:-$WERCKER_OUTPUT_DIR/pkg/dist}"
	[ -d "$input" ] || fail "input is $input, and there is no such directory"
	[ -z "$WERCKER_GHR_OPT" ] || warn "opt is not used: $WERCKER_GHR_OPT"
	owner="${WERCKER_GHR_OWNER:-${WERCKER_GIT_OWNER-}}" repo="${WERCKER_GHR_REPO:-${WERCKER_GIT_REPOSITORY-}}"
	[ -n "$owner" ] && [ -n "$repo" ] || fail "owner and repo are missing, and the source is not from git"
	api="${GITHUB_API_URL:-https://api.github.com}/repos/$(url_escape "$owner")/$(url_escape "$repo")"
	tag="$WERCKER_GHR_VERSION"
	if http GET "$api/releases/tags/$(url_escape "$tag")" "Authorization: token $token" </dev/null >"$WERCKER_STEP_TEMP/release"; then
		info "release $tag exists"
	else
		pre=false
		! is_true "$WERCKER_GHR_PRE_RELEASE" || pre=true
		printf '{"tag_name":%s,"prerelease":%s%s}' "$(json "$tag")" "$pre" \
			"${WERCKER_GIT_COMMIT:+,\"target_commitish\":$(json "$WERCKER_GIT_COMMIT")}" |
			github POST "$api/releases" "$token" 'Content-Type: application/json' || exit 1
		cat "$WERCKER_STEP_TEMP/answer" >"$WERCKER_STEP_TEMP/release"
	fi
	id="$("$boxkit" json get id <"$WERCKER_STEP_TEMP/release")" || fail "GitHub's answer has no id"
	uploads="${GITHUB_UPLOADS_URL:-https://uploads.github.com}/repos/$(url_escape "$owner")/$(url_escape "$repo")"
	count=0
	for file in "$input"/*; do
		[ -f "$file" ] || continue
		name="${file##*/}"
		if is_true "$WERCKER_GHR_REPLACE"; then
			github GET "$api/releases/$id/assets?per_page=100" "$token" </dev/null
			old="$("$boxkit" json find name "$name" id <"$WERCKER_STEP_TEMP/answer" 2>/dev/null)" &&
				github DELETE "$api/releases/assets/$old" "$token" </dev/null
		fi
		http_body="$file"
		github POST "$uploads/releases/$id/assets?name=$(url_escape "$name")" "$token" 'Content-Type: application/octet-stream' </dev/null
		http_body=
		info "uploaded $name"
		count=$((count + 1))
	done
	[ "$count" -gt 0 ] || fail "there is no file in $input"
)
