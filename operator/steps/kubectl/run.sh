# kubectl with the credentials in a file of its own, not in its arguments.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_KUBECTL_COMMAND" ] || fail "command is missing: write what kubectl does, for example command: apply"
	provide kubectl
	"$tool" version --client 2>/dev/null || :

	# quoted TEXT: as a word of the shell.
	quoted() {
		quoted_left="$1"
		printf "'"
		while :; do
			case "$quoted_left" in
			(*"'"*)
				printf "%s'\\\\''" "${quoted_left%%"'"*}"
				quoted_left="${quoted_left#*"'"}"
				;;
			(*)
				printf "%s'" "$quoted_left"
				return
				;;
			esac
		done
	}
	# flag OPTION VALUE: --OPTION=VALUE as words of the shell, nothing for an empty value.
	flag() { [ -z "$2" ] || printf ' --%s=%s' "$1" "$(quoted "$2")"; }

	# member NAME VALUE: of a JSON object, nothing for an empty value.
	member() {
		[ -n "$2" ] || return
		printf '%s"%s":%s' "$separator" "$1" "$(json "$2")"
		separator=,
	}
	if [ -n "$WERCKER_KUBECTL_SERVER" ]; then
		umask 077
		KUBECONFIG="$WERCKER_STEP_TEMP/kubeconfig"
		export KUBECONFIG
		{
			printf '{"apiVersion":"v1","kind":"Config","current-context":"step","contexts":[{"name":"step","context":{"cluster":"step","user":"step"}}],'
			printf '"clusters":[{"name":"step","cluster":{"server":%s' "$(json "$WERCKER_KUBECTL_SERVER")"
			[ -z "$WERCKER_KUBECTL_CERTIFICATE_AUTHORITY" ] || printf ',"certificate-authority":%s' "$(json "$(absolute "$WERCKER_KUBECTL_CERTIFICATE_AUTHORITY")")"
			! is_true "$WERCKER_KUBECTL_INSECURE_SKIP_TLS_VERIFY" || printf ',"insecure-skip-tls-verify":true'
			printf '}}],"users":[{"name":"step","user":{'
			separator=
			member token "$WERCKER_KUBECTL_TOKEN"
			member username "$WERCKER_KUBECTL_USERNAME"
			member password "$WERCKER_KUBECTL_PASSWORD"
			member client-certificate "${WERCKER_KUBECTL_CLIENT_CERTIFICATE:+$(absolute "$WERCKER_KUBECTL_CLIENT_CERTIFICATE")}"
			member client-key "${WERCKER_KUBECTL_CLIENT_KEY:+$(absolute "$WERCKER_KUBECTL_CLIENT_KEY")}"
			printf '}}]}'
		} >"$KUBECONFIG" || fail "cannot write a kubeconfig"
		if is_true "$WERCKER_KUBECTL_INSECURE_SKIP_TLS_VERIFY"; then
			warn "insecure-skip-tls-verify is on: whoever answers gets the credentials. Set certificate-authority instead"
		fi
	fi
	flags="$(
		flag filename "$WERCKER_KUBECTL_FILE"
		for each in output template patch interactive image timeout update-period deployment-label-key poll-interval rollback \
			replicas current-replicas resource-version pod stdin tty grace-period selector all overwrite; do
			variable="WERCKER_KUBECTL_$(printf '%s' "$each" | tr 'a-z-' 'A-Z_')"
			eval "flag $each \"\$$variable\""
		done
	)"
	line="$(quoted "$tool") $WERCKER_KUBECTL_RAW_GLOBAL_ARGS $WERCKER_KUBECTL_COMMAND$flags $WERCKER_KUBECTL_RAW_ARGS"
	! is_true "$WERCKER_KUBECTL_DEBUG" || printf '%s\n' "$line"
	# Commands of the field hold shell: delete secret x; echo done
	eval "$line"
)
