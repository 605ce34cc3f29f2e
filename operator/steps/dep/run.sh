# dep ensure, of the box or the operator.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	warn "dep is not maintained any more: Go modules do the same"
	provide dep ${WERCKER_DEP_VERSION:+"$WERCKER_DEP_VERSION"}
	set -- ensure
	! is_true "$WERCKER_DEP_UPDATE" || set -- "$@" -update
	! is_true "$WERCKER_DEP_VERBOSE" || set -- "$@" -v
	"$tool" "$@" $WERCKER_DEP_OPT
)
