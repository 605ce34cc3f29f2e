# wercker-init: what every shell of a build begins with (wercker.md "The shell"). It is boxkit's own, part of the
# start of a shell, and no step that anybody sees. Must run in bash, dash and busybox ash.
success() { \command printf '\033[1;32m%b\033[m\n' "${1-}"; }
info() { \command printf '\033[1;34m%b\033[m\n' "${1-}"; }
debug() { \command printf '\033[1;30m%b\033[m\n' "${1-}"; }
warn() { \command printf '\033[1;33m%b\033[m\n' "${1-}"; }
error() { \command printf '\033[1;31merror: %b\033[m\n' "${1-}"; }
setMessage() { \command printf '%s\n' "${1-}" >|"$WERCKER_REPORT_MESSAGE_FILE"; }
fail() {
	\command printf '\033[1;31mfailed: %b\033[m\n' "${1-}"
	\command printf '%s\n' "${1-}" >|"$WERCKER_REPORT_MESSAGE_FILE"
	\command exit 1
}
fatal() { fail "$@"; }
# get_option NAME [DEFAULT]: a property of the running step.
get_option() {
	\command eval "\\command printf '%s\\n' \"\${WERCKER_$(
		# Upper case and underscores without tr: a box may hold nothing but a shell.
		left="${WERCKER_STEP_NAME-}_${1-}" name=
		while [ -n "$left" ]; do
			rest="${left#?}" && char="${left%"$rest"}" left="$rest"
			case "$char" in
			(a) char=A ;; (b) char=B ;; (c) char=C ;; (d) char=D ;; (e) char=E ;; (f) char=F ;; (g) char=G ;;
			(h) char=H ;; (i) char=I ;; (j) char=J ;; (k) char=K ;; (l) char=L ;; (m) char=M ;; (n) char=N ;;
			(o) char=O ;; (p) char=P ;; (q) char=Q ;; (r) char=R ;; (s) char=S ;; (t) char=T ;; (u) char=U ;;
			(v) char=V ;; (w) char=W ;; (x) char=X ;; (y) char=Y ;; (z) char=Z ;; ([A-Z0-9]) ;; (*) char=_ ;;
			esac
			name="$name$char"
		done
		\command printf '%s' "$name"
	)-\${2-}}\""
}
if [ -n "${BASH_VERSION-}" ]; then
	\command shopt -s expand_aliases
fi
