# A directory onto a branch, by GitHub's https with a token or by ssh.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	need git "Install the package git in an earlier step"
	# on VALUE: any value but false, as it always was.
	on() { [ -n "$1" ] && [ "$1" != false ]; }
	repo="${WERCKER_GIT_PUSH_REPO:-${WERCKER_GIT_OWNER-}/${WERCKER_GIT_REPOSITORY-}}"
	if [ -n "$WERCKER_GIT_PUSH_GH_OAUTH" ]; then
		remote="${GITHUB_BASE_URL:-https://github.com}/$repo.git"
		git_login x-access-token "$WERCKER_GIT_PUSH_GH_OAUTH"
	elif [ -n "$WERCKER_GIT_PUSH_HOST" ]; then
		remote="$WERCKER_GIT_PUSH_USER@$WERCKER_GIT_PUSH_HOST:$repo.git"
		case "$WERCKER_GIT_PUSH_HOST" in
		(*/*) remote="$WERCKER_GIT_PUSH_HOST/$repo.git" ;;
		esac
		GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -o BatchMode=yes}"
		export GIT_TERMINAL_PROMPT GIT_SSH_COMMAND
	else
		fail "gh_oauth or host is missing: write a token for GitHub, or the host to push to by ssh"
	fi
	branch="${WERCKER_GIT_PUSH_BRANCH:-${WERCKER_GIT_BRANCH-}}"
	if on "$WERCKER_GIT_PUSH_GH_PAGES"; then
		owner="$(printf '%s' "${repo%%/*}" | tr 'A-Z' 'a-z')"
		case "$(printf '%s' "${repo#*/}" | tr 'A-Z' 'a-z')" in
		("$owner.github.io" | "$owner.github.com") branch=master ;;
		(*) branch=gh-pages ;;
		esac
	fi
	[ -n "$branch" ] || fail "branch is missing, and the build has none"
	base="${WERCKER_GIT_PUSH_BASEDIR:-.}"
	[ -d "$base" ] || fail "basedir is $base, and there is no such directory"
	base="$(cd "$base" && pwd)"
	tag="$WERCKER_GIT_PUSH_TAG"
	case "$tag" in
	(node) tag="$("$boxkit" json get version <"$base/package.json")" || fail "package.json has no version to tag with" ;;
	(bower) tag="$("$boxkit" json get version <"$base/bower.json")" || fail "bower.json has no version to tag with" ;;
	(false) tag= ;;
	esac
	copy="$WERCKER_STEP_TEMP/repository"
	if on "$WERCKER_GIT_PUSH_DISCARD_HISTORY" || ! git_quiet clone -q --branch "$branch" --single-branch "$remote" "$copy"; then
		rm -rf "$copy"
		git init -q "$copy" || fail "cannot make a repository"
	fi
	cd "$copy" || exit 1
	target="$copy${WERCKER_GIT_PUSH_DESTDIR:+/$WERCKER_GIT_PUSH_DESTDIR}"
	if on "$WERCKER_GIT_PUSH_CLEAN_REMOVED_FILES" && [ -d "$target" ]; then
		find "$target" -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
	fi
	stage="$WERCKER_STEP_TEMP/stage"
	mkdir -p "$target" "$stage" && cp -R "$base/." "$stage/" && rm -rf "$stage/.git" && cp -R "$stage/." "$target/" ||
		fail "cannot copy $base"
	[ -z "$WERCKER_GIT_PUSH_GH_PAGES_DOMAIN" ] || printf '%s\n' "$WERCKER_GIT_PUSH_GH_PAGES_DOMAIN" >"$copy/CNAME"
	git add -A .
	if git rev-parse -q --verify HEAD >/dev/null && git diff --cached --quiet; then
		info "nothing changed: nothing to push to $branch"
	else
		git -c user.name=werckerbot -c user.email=pleasemailus@wercker.com commit -q -m "[ci skip] deploy from ${WERCKER_STARTED_BY:-wercker}" ||
			fail "cannot make the commit"
		git_quiet push -f "$remote" "HEAD:refs/heads/$branch" || fail "cannot push to $branch: $(cat "$WERCKER_STEP_TEMP/git.txt")"
		info "pushed to $branch of $repo"
	fi
	if [ -n "$tag" ]; then
		force=
		! on "$WERCKER_GIT_PUSH_TAG_OVERWRITE" || force=-f
		git_quiet push $force "$remote" "HEAD:refs/tags/$tag" || fail "cannot push the tag $tag: $(cat "$WERCKER_STEP_TEMP/git.txt")"
		info "tagged $tag"
	fi
	! on "$WERCKER_GIT_PUSH_DEBUG" || git log --oneline -3
)
