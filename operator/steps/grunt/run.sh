# grunt of the box or the project.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	if have grunt; then
		tool=grunt
	elif [ -x node_modules/.bin/grunt ]; then
		tool=node_modules/.bin/grunt
	else
		provide grunt
	fi
	set -- $WERCKER_GRUNT_TASKS
	[ -z "$WERCKER_GRUNT_GRUNTFILE" ] || set -- "$@" --gruntfile "$WERCKER_GRUNT_GRUNTFILE"
	! is_true "$WERCKER_GRUNT_DEBUG" || set -- "$@" --debug
	! is_true "$WERCKER_GRUNT_VERBOSE" || set -- "$@" --verbose
	! is_true "$WERCKER_GRUNT_STACK" || set -- "$@" --stack
	"$tool" "$@"
	status=$?
	if [ "$status" -eq 6 ] && ! is_true "$WERCKER_GRUNT_FAIL_ON_WARNINGS"; then
		warn "Grunt ended with warnings (code 6)"
		exit 0
	fi
	exit "$status"
)
