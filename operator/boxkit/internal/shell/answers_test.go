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
	a.expect("n0nce", "trap")
	text := "junkB n0nce\nS other 0 x\nE other\nS nonsense n0nce-like\nS n0nce 3 hBx\ndeclare -x A=\"S 1\"\n" +
		"E n0nce\nX trap\nexport B='2'\nE trap\n"
	for i := range len(text) {
		a.take([]byte{text[i]})
	}
	want := []answer{
		{kind: 'B', nonce: "n0nce"},
		{kind: 'S', nonce: "n0nce", status: 3, flags: "hBx", dump: []byte("declare -x A=\"S 1\"\n")},
		{kind: 'X', nonce: "trap", dump: []byte("export B='2'\n")},
	}
	for _, each := range want {
		select {
		case got := <-a.out:
			if got.kind != each.kind || got.nonce != each.nonce || got.status != each.status ||
				got.flags != each.flags || string(got.dump) != string(each.dump) || got.at.IsZero() {
				t.Errorf("got %+v, want %+v", got, each)
			}
		case <-time.After(time.Second):
			t.Fatalf("no answer; want %+v", each)
		}
	}
	if len(a.out) != 0 {
		t.Errorf("%d answers too many", len(a.out))
	}
}

// told takes what was answered so far, but for the times.
func told(a *answers) (found []string) {
	for {
		select {
		case got := <-a.out:
			found = append(found, fmt.Sprintf("%c %s %d %s %q", got.kind, got.nonce, got.status, got.flags, got.dump))
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
		whole.expect("n0nce", "trap")
		pieces.expect("n0nce", "trap")
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
