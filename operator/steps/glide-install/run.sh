# glide install, of the box or the operator.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	warn "Glide is not maintained any more: Go modules do the same"
	provide glide
	"$tool" install
)
