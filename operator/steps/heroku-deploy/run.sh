# A push to Heroku's git by https, with the API key.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	key="${WERCKER_HEROKU_DEPLOY_KEY:-${HEROKU_KEY-}}"
	app="${WERCKER_HEROKU_DEPLOY_APP_NAME:-${HEROKU_APP_NAME-}}"
	[ -n "$app" ] || fail "app-name is missing: write it, or set HEROKU_APP_NAME"
	[ -n "$key" ] || fail "key is missing: write an API key, or set HEROKU_KEY. Heroku ended pushes by ssh in 2021"
	[ -z "$WERCKER_HEROKU_DEPLOY_KEY_NAME" ] || warn "key-name is not used: Heroku ended pushes by ssh in 2021, the API key is used"
	need git "Install the package git in an earlier step"
	source="${WERCKER_HEROKU_DEPLOY_SOURCE_DIR:-$WERCKER_ROOT}"
	[ -d "$source" ] || fail "source-dir is $source, and there is no such directory"
	if is_true "$WERCKER_HEROKU_DEPLOY_KEEP_REPOSITORY"; then
		cd "$source" || exit 1
		git rev-parse -q --verify HEAD >/dev/null || fail "keep-repository is on, and $source is no git repository"
	else
		copy="$WERCKER_STEP_TEMP/source"
		mkdir -p "$copy" && cp -R "$source/." "$copy/" && rm -rf "$copy/.git" && cd "$copy" || fail "cannot copy $source"
		git init -q . && git add -A . &&
			git -c user.name=werckerbot -c user.email=pleasemailus@wercker.com commit -q --allow-empty -m "wercker deploy" || fail "cannot make the commit"
	fi
	git_login "${WERCKER_HEROKU_DEPLOY_USER:-${HEROKU_USER:-heroku}}" "$key"
	push() { git_quiet push -f "${HEROKU_GIT_URL:-https://git.heroku.com}/$app.git" HEAD:refs/heads/master; }
	tries=1
	! is_true "$WERCKER_HEROKU_DEPLOY_RETRY" || tries=2
	between() { sleep "${HEROKU_RETRY_SECONDS:-5}"; }
	attempts "$tries" push || fail "cannot push to $app: $(cat "$WERCKER_STEP_TEMP/git.txt")"
	info "$app has the source"
	if [ -n "$WERCKER_HEROKU_DEPLOY_RUN" ]; then
		printf '{"command":%s,"attach":false}' "$(json "$WERCKER_HEROKU_DEPLOY_RUN")" |
			http POST "${HEROKU_API_URL:-https://api.heroku.com}/apps/$(url_escape "$app")/dynos" \
				"Authorization: Bearer $key" 'Accept: application/vnd.heroku+json; version=3' 'Content-Type: application/json' >/dev/null ||
			fail "cannot run the command on $app: $(http_failure)"
		info "$app runs: $WERCKER_HEROKU_DEPLOY_RUN"
	fi
)
