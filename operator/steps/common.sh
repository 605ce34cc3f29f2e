# What the standard steps share. It is put beside each step's run.sh and sourced there, inside a subshell, so that no
# function or variable of it stays in the session. Must run in bash, dash and busybox ash.
set +e
IFS='
	 '
boxkit="${WERCKER_BOXKIT:-/run/sentinel/kit/boxkit}"

# is_true TEXT: whether an option is on.
is_true() {
	case "${1-}" in
	(true | TRUE | True | yes | Yes | YES | on | On | ON | 1) return 0 ;;
	esac
	return 1
}

# have COMMAND: whether the box has it.
have() { command -v "$1" >/dev/null 2>&1; }

# need COMMAND [REMEDY]: fails where the box lacks it.
need() {
	have "$1" || fail "this box has no $1. ${2:-Use a box that has it, or install it in an earlier step}"
}

# provide COMMAND [VERSION]: has `tool` name the box's COMMAND, else the one that the operator provides, else fails.
provide() {
	if have "$1"; then
		tool="$(command -v "$1")"
		return 0
	fi
	tool="$("$boxkit" tool "$@" 2>"$WERCKER_STEP_TEMP/tool.txt")" && return 0
	fail "$1${2:+ $2} is missing: this box has none, and $(cat "$WERCKER_STEP_TEMP/tool.txt"). Use a box that has $1, install it in an earlier step, or have it added to the operator's tools (steps.tools)"
}

# attempts COUNT COMMAND…: runs a function or command until it passes, COUNT times at most, with a function `between`
# called after each failure but the last. Its status is the last one's.
attempts() {
	attempts_left="$1" && shift
	while :; do
		"$@" && return 0
		attempts_status=$?
		attempts_left=$((attempts_left - 1))
		[ "$attempts_left" -gt 0 ] || return "$attempts_status"
		warn "failed with code $attempts_status; trying again"
		between
	done
}
between() { :; }

# http METHOD URL [HEADER…]: sends standard input as the body, prints the answer's body, and its failure in words to
# $WERCKER_STEP_TEMP/http.txt. Ends with 22 for a status of 400 or more. URL and headers are in no command line.
http() {
	http_method="$1" http_url="$2"
	shift 2
	{
		printf '%s %s\n' "$http_method" "$http_url"
		for http_header in "$@"; do
			printf '%s\n' "$http_header"
		done
		printf '\n'
		cat
	} | "$boxkit" http ${http_body:+--body "$http_body"} 2>"$WERCKER_STEP_TEMP/http.txt"
}
http_body= # a file to send instead of standard input

# http_failure: what was wrong with the last request.
http_failure() { cat "$WERCKER_STEP_TEMP/http.txt"; }

# json TEXT: TEXT as a JSON string, with its quotes.
json() { printf '%s' "$1" | "$boxkit" json quote; }

# url_escape TEXT: TEXT as a part of a URL's path or query.
url_escape() { printf '%s' "$1" | "$boxkit" url quote; }

# result VALUE: hands VALUE out of the subshell, for the step's run.sh to export.
result() { printf '%s' "$1" >"$WERCKER_STEP_TEMP/result"; }

# what_ended: has `subject` name the build or deploy that an after-step runs in, `link` be its URL, and `failure` tell
# the failed step. Both may be empty.
what_ended() {
	if [ "${DEPLOY-}" = true ]; then
		subject="deploy (${WERCKER_DEPLOYTARGET_NAME:-unnamed})" link="${WERCKER_DEPLOY_URL-}"
	else
		subject=build link="${WERCKER_BUILD_URL-}"
	fi
	link="${link:-${WERCKER_RUN_URL-}}"
	application="${WERCKER_APPLICATION_OWNER_NAME:+$WERCKER_APPLICATION_OWNER_NAME/}${WERCKER_APPLICATION_NAME:-${WERCKER_GIT_REPOSITORY:-project}}"
	result="${WERCKER_RESULT:-passed}"
	starter="${WERCKER_STARTED_BY:-somebody}"
	branch="${WERCKER_GIT_BRANCH-}"
	failed_step="${WERCKER_FAILED_STEP_DISPLAY_NAME-}"
}

# post_json URL: sends standard input as JSON, and fails the step where it is not accepted.
post_json() {
	http POST "$1" 'Content-Type: application/json' >"$WERCKER_STEP_TEMP/answer" && return
	fail "the notification was not accepted: $(http_failure)$(
		[ ! -s "$WERCKER_STEP_TEMP/answer" ] || printf ': %s' "$(head -c 200 "$WERCKER_STEP_TEMP/answer")"
	)"
}

# git_login USER PASSWORD: lets git_quiet log in by https. The password is in no command line, and no prompt ever waits.
git_login() {
	umask 077
	printf '%s' "$1" >"$WERCKER_STEP_TEMP/git-user"
	printf '%s' "$2" >"$WERCKER_STEP_TEMP/git-password"
	cat >"$WERCKER_STEP_TEMP/git-askpass" <<-END
		#!/bin/sh
		case "\$1" in
		(Username*) cat '$WERCKER_STEP_TEMP/git-user' ;;
		(*) cat '$WERCKER_STEP_TEMP/git-password' ;;
		esac
	END
	chmod 700 "$WERCKER_STEP_TEMP/git-askpass"
	GIT_ASKPASS="$WERCKER_STEP_TEMP/git-askpass" GIT_TERMINAL_PROMPT=0
	export GIT_ASKPASS GIT_TERMINAL_PROMPT
}

# git_quiet ARGUMENT…: git, its words in $WERCKER_STEP_TEMP/git.txt.
git_quiet() { git -c credential.helper= "$@" >"$WERCKER_STEP_TEMP/git.txt" 2>&1; }

# absolute PATH
absolute() {
	case "$1" in
	(/*) printf '%s' "$1" ;;
	(*) printf '%s/%s' "$PWD" "$1" ;;
	esac
}

# github METHOD URL TOKEN [HEADER…]: as `http`, for GitHub's API. A refusal fails the step with GitHub's own message.
github() {
	github_method="$1" github_url="$2" github_token="$3"
	shift 3
	http "$github_method" "$github_url" "Authorization: token $github_token" 'Accept: application/vnd.github+json' "$@" \
		>"$WERCKER_STEP_TEMP/answer" && return
	github_why="$(http_failure)"
	if github_message="$("$boxkit" json get message <"$WERCKER_STEP_TEMP/answer" 2>/dev/null)"; then
		github_why="$github_why: $github_message"
	fi
	fail "GitHub refused: $github_why"
}
