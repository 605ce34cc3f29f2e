package shell

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestAnswersAreFoundAmongNoise(t *testing.T) {
	a := newAnswers()
	a.Expect("n0nce", "trap")
	text := "junkB n0nce\nS other 0 x\nE other\nS nonsense n0nce-like\nS n0nce 3 hBx\ndeclare -x A=\"S 1\"\n" +
		"E n0nce\nX trap\nexport B='2'\nE trap\n"
	for i := range len(text) {
		a.take([]byte{text[i]})
	}
	want := []Answer{
		{Kind: 'B', nonce: "n0nce"},
		{Kind: 'S', nonce: "n0nce", Status: 3, Flags: "hBx", Dump: []byte("declare -x A=\"S 1\"\n")},
		{Kind: 'X', nonce: "trap", Dump: []byte("export B='2'\n")},
	}
	for _, each := range want {
		select {
		case got := <-a.Out:
			if got.Kind != each.Kind || got.nonce != each.nonce || got.Status != each.Status ||
				got.Flags != each.Flags || string(got.Dump) != string(each.Dump) || got.At.IsZero() {
				t.Errorf("got %+v, want %+v", got, each)
			}
		case <-time.After(time.Second):
			t.Fatalf("no answer; want %+v", each)
		}
	}
	if len(a.Out) != 0 {
		t.Errorf("%d answers too many", len(a.Out))
	}
}

// told takes what was answered so far, but for the times.
func told(a *answers) (found []string) {
	for {
		select {
		case got := <-a.Out:
			found = append(found, fmt.Sprintf("%c %s %d %s %q", got.Kind, got.nonce, got.Status, got.Flags, got.Dump))
		default:
			return found
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("B n0nce\nS n0nce-like 1\n"), []byte("declare -x A=\"1\"\n"), 3, uint16(9))
	f.Add([]byte("S trap 0 h\nE tra"), []byte("E n0nce\n"), 255, uint16(1))
	f.Add([]byte("X trap\nexport A='B n0nce'\nE trap\n"), []byte(nil), -1, uint16(0))
	f.Fuzz(func(t *testing.T, noise, dump []byte, status int, piece uint16) {
		said := fmt.Appendf(bytes.Clone(noise), "S n0nce %d hB\n%sE n0nce\n", status, dump)
		whole, pieces := newAnswers(), newAnswers()
		whole.Expect("n0nce", "trap")
		pieces.Expect("n0nce", "trap")
		whole.take(said)
		for rest := said; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			pieces.take(rest[:n])
			rest = rest[n:]
		}
		got, want := told(pieces), told(whole)
		if !slices.Equal(got, want) {
			t.Fatalf("in pieces %q, whole %q", got, want)
		}
		if bytes.Contains(noise, []byte("n0nce")) || bytes.Contains(noise, []byte("trap")) ||
			bytes.Contains(dump, []byte("n0nce")) {
			return
		}
		// Noise that has no nonce decides nothing, whatever it is.
		if want := fmt.Sprintf("S n0nce %d hB %q", status, dump); !slices.Equal(got, []string{want}) {
			t.Fatalf("after noise %q: %q, want %q", noise, got, want)
		}
	})
}
