# The directory as the only commit of the branch.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_GH_PAGES_TOKEN" ] || fail "token is missing"
	need git "Install the package git in an earlier step"
	repo="$WERCKER_GH_PAGES_REPO"
	if [ -z "$repo" ]; then
		[ "${WERCKER_GIT_DOMAIN-}" = github.com ] || [ -n "${GITHUB_BASE_URL-}" ] ||
			fail "the source is not from GitHub: write the repository as repo: owner/name"
		repo="${WERCKER_GIT_OWNER-}/${WERCKER_GIT_REPOSITORY-}"
	fi
	branch="$WERCKER_GH_PAGES_BRANCH"
	if [ -z "$branch" ]; then
		owner="$(printf '%s' "${repo%%/*}" | tr 'A-Z' 'a-z')"
		case "$(printf '%s' "${repo#*/}" | tr 'A-Z' 'a-z')" in
		("$owner.github.io" | "$owner.github.com") branch=master ;;
		(*) branch=gh-pages ;;
		esac
	fi
	site="${WERCKER_GH_PAGES_BASEDIR:-.}"
	[ -d "$site" ] || fail "basedir is $site, and there is no such directory"
	copy="$WERCKER_STEP_TEMP/site"
	mkdir -p "$copy" && cp -R "$site/." "$copy/" && rm -rf "$copy/.git" || fail "cannot copy $site"
	cd "$copy" || exit 1
	[ -z "$WERCKER_GH_PAGES_DOMAIN" ] || printf '%s\n' "$WERCKER_GH_PAGES_DOMAIN" >CNAME
	git_login x-access-token "$WERCKER_GH_PAGES_TOKEN"
	git init -q . && git add -A . &&
		git -c user.name=werckerbot -c user.email=pleasemailus@wercker.com commit -q --allow-empty -m "deploy from ${WERCKER_STARTED_BY:-wercker}" ||
		fail "cannot make the commit"
	git_quiet push -f "${GITHUB_BASE_URL:-https://github.com}/$repo.git" "HEAD:refs/heads/$branch" ||
		fail "cannot push to $branch of $repo: $(cat "$WERCKER_STEP_TEMP/git.txt")"
	info "$site is on $branch of $repo"
)
