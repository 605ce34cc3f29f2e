# A file for a release on GitHub.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_GITHUB_UPLOAD_ASSET_TOKEN" ] || fail "token is missing"
	file="$WERCKER_GITHUB_UPLOAD_ASSET_FILE"
	[ -n "$file" ] || fail "file is missing"
	[ -f "$file" ] || fail "file is $file, and there is no such file in $PWD"
	case "$WERCKER_GITHUB_UPLOAD_ASSET_EXPORT_ID" in
	(*[!A-Za-z0-9_]* | [0-9]* | '') fail "export_id is '$WERCKER_GITHUB_UPLOAD_ASSET_EXPORT_ID', which cannot be the name of a variable" ;;
	esac
	release="${WERCKER_GITHUB_UPLOAD_ASSET_RELEASE_ID:-${WERCKER_GITHUB_CREATE_RELEASE_ID-}}"
	[ -n "$release" ] || fail "release_id is missing: write it, or run github-create-release before"
	owner="${WERCKER_GITHUB_UPLOAD_ASSET_OWNER:-${WERCKER_GIT_OWNER-}}" repo="${WERCKER_GITHUB_UPLOAD_ASSET_REPO:-${WERCKER_GIT_REPOSITORY-}}"
	[ -n "$owner" ] && [ -n "$repo" ] || fail "owner and repo are missing, and the source is not from git"
	api="${GITHUB_UPLOADS_URL:-https://uploads.github.com}/repos/$(url_escape "$owner")/$(url_escape "$repo")"
	name="${WERCKER_GITHUB_UPLOAD_ASSET_FILENAME:-${file##*/}}"
	type="$WERCKER_GITHUB_UPLOAD_ASSET_CONTENT_TYPE"
	if [ -z "$type" ] && have file; then
		type="$(file -b --mime-type "$file")"
	fi
	http_body="$file"
	github POST "$api/releases/$(url_escape "$release")/assets?name=$(url_escape "$name")" "$WERCKER_GITHUB_UPLOAD_ASSET_TOKEN" \
		"Content-Type: ${type:-application/octet-stream}" </dev/null
	id="$("$boxkit" json get id <"$WERCKER_STEP_TEMP/answer")" || fail "GitHub's answer has no id"
	result "$id"
	info "$file is $name of release $release"
) && export "$WERCKER_GITHUB_UPLOAD_ASSET_EXPORT_ID=$(cat "$WERCKER_STEP_TEMP/result")"
