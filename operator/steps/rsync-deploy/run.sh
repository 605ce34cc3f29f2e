# rsync --delete over ssh.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_RSYNC_DEPLOY_HOST" ] || fail "host is missing"
	[ -n "$WERCKER_RSYNC_DEPLOY_DIRECTORY" ] || fail "directory is missing"
	need rsync "Install the package rsync in an earlier step"
	need ssh "Install the package openssh-client in an earlier step"
	case "$WERCKER_RSYNC_DEPLOY_SSHPORT" in
	(*[!0-9]* | '') fail "sshport is '$WERCKER_RSYNC_DEPLOY_SSHPORT', which is not a port" ;;
	esac
	shell="ssh -o BatchMode=yes -p $WERCKER_RSYNC_DEPLOY_SSHPORT"
	[ -z "$WERCKER_RSYNC_DEPLOY_SSHKEY" ] || shell="$shell -i $WERCKER_RSYNC_DEPLOY_SSHKEY"
	set -- -az --delete -e "$shell"
	[ -z "$WERCKER_RSYNC_DEPLOY_EXCLUDE" ] || set -- "$@" "--exclude=$WERCKER_RSYNC_DEPLOY_EXCLUDE"
	rsync "$@" "$WERCKER_RSYNC_DEPLOY_SOURCE" "$WERCKER_RSYNC_DEPLOY_USER@$WERCKER_RSYNC_DEPLOY_HOST:$WERCKER_RSYNC_DEPLOY_DIRECTORY"
)
