# PUT of a definition.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_MARATHON_DEPLOY_MARATHON_URL" ] || fail "marathon-url is missing"
	file="$WERCKER_MARATHON_DEPLOY_APP_JSON_FILE"
	[ -n "$file" ] || fail "app-json-file is missing"
	[ -f "$file" ] || fail "app-json-file is $file, and there is no such file in $PWD"
	http_body="$file"
	set -- 'Content-Type: application/json'
	[ -z "$WERCKER_MARATHON_DEPLOY_AUTH_TOKEN" ] || set -- "$@" "Authorization: token=$WERCKER_MARATHON_DEPLOY_AUTH_TOKEN"
	http PUT "${WERCKER_MARATHON_DEPLOY_MARATHON_URL%/}/v2/apps" "$@" </dev/null >"$WERCKER_STEP_TEMP/answer" ||
		fail "Marathon refused: $(http_failure): $(head -c 200 "$WERCKER_STEP_TEMP/answer")"
	info "Marathon has $file"
)
