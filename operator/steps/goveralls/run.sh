# goveralls, of the box or the operator.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	[ -n "$WERCKER_GOVERALLS_TOKEN" ] || fail "token is missing"
	need go "Use a box with Go, for example golang:1.22"
	provide goveralls
	go test -covermode=count -coverprofile="$WERCKER_STEP_TEMP/profile" ./... || fail "go test failed"
	COVERALLS_TOKEN="$WERCKER_GOVERALLS_TOKEN" "$tool" -coverprofile="$WERCKER_STEP_TEMP/profile" -service=wercker
)
