# A release on GitHub; its id is exported for github-upload-asset.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_GITHUB_CREATE_RELEASE_TOKEN" ] || fail "token is missing"
	[ -n "$WERCKER_GITHUB_CREATE_RELEASE_TAG" ] || fail "tag is missing"
	for each in "draft:$WERCKER_GITHUB_CREATE_RELEASE_DRAFT" "prerelease:$WERCKER_GITHUB_CREATE_RELEASE_PRERELEASE"; do
		case "${each#*:}" in
		(true | false) ;;
		(*) fail "${each%%:*} is '${each#*:}': write true or false" ;;
		esac
	done
	case "$WERCKER_GITHUB_CREATE_RELEASE_EXPORT_ID" in
	(*[!A-Za-z0-9_]* | [0-9]* | '') fail "export_id is '$WERCKER_GITHUB_CREATE_RELEASE_EXPORT_ID', which cannot be the name of a variable" ;;
	esac
	owner="${WERCKER_GITHUB_CREATE_RELEASE_OWNER:-${WERCKER_GIT_OWNER-}}" repo="${WERCKER_GITHUB_CREATE_RELEASE_REPO:-${WERCKER_GIT_REPOSITORY-}}"
	[ -n "$owner" ] && [ -n "$repo" ] || fail "owner and repo are missing, and the source is not from git"
	api="${GITHUB_API_URL:-https://api.github.com}/repos/$(url_escape "$owner")/$(url_escape "$repo")"
	commit="${WERCKER_GITHUB_CREATE_RELEASE_TARGET_COMMITISH:-${WERCKER_GIT_COMMIT-}}"
	{
		printf '{"tag_name":%s,"name":%s,"body":%s,' "$(json "$WERCKER_GITHUB_CREATE_RELEASE_TAG")" \
			"$(json "$WERCKER_GITHUB_CREATE_RELEASE_TITLE")" "$(json "$WERCKER_GITHUB_CREATE_RELEASE_BODY")"
		[ -z "$commit" ] || printf '"target_commitish":%s,' "$(json "$commit")"
		printf '"draft":%s,"prerelease":%s}' "$WERCKER_GITHUB_CREATE_RELEASE_DRAFT" "$WERCKER_GITHUB_CREATE_RELEASE_PRERELEASE"
	} | github POST "$api/releases" "$WERCKER_GITHUB_CREATE_RELEASE_TOKEN" 'Content-Type: application/json' || exit 1
	id="$("$boxkit" json get id <"$WERCKER_STEP_TEMP/answer")" || fail "GitHub's answer has no id"
	result "$id"
	info "release $WERCKER_GITHUB_CREATE_RELEASE_TAG has id $id"
) && export "$WERCKER_GITHUB_CREATE_RELEASE_EXPORT_ID=$(cat "$WERCKER_STEP_TEMP/result")"
