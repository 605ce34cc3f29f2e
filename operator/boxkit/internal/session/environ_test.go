package session

import "testing"

func TestTheEnvironmentIsLaidOverInOrder(t *testing.T) {
	got := literalEnv(
		[]string{"PATH=/bin", "SENTINEL_SESSION_DIR=/x", "A=image"},
		[][2]string{{"B", "1"}, {"A", "build"}, {"B", "2"}, {"SENTINEL_X", "no"}, {"bad=name", "x"}, {"", "x"}, {"E", ""}},
	)
	want := []string{"PATH=/bin", "A=build", "B=2", "E="}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}
