package pipe

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink keeps what a source takes.
type sink struct {
	mu   sync.Mutex
	text []byte
}

func (s *sink) take(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, data...)
}

func (s *sink) get() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(bytes.Clone(s.text))
}

func open(t *testing.T) (*Source, *os.File, *sink) {
	t.Helper()
	read, write, err := Output()
	if err != nil {
		t.Fatal(err)
	}
	var s sink
	source, err := New(read, s.take)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close(); write.Close() })
	return source, write, &s
}

func TestDrainingTakesExactlyWhatThePipeHolds(t *testing.T) {
	source, write, s := open(t)
	for _, text := range []string{"first", strings.Repeat("x", 700_000), "", "last"} {
		before := s.get()
		if _, err := write.WriteString(text); err != nil {
			t.Fatal(err)
		}
		source.Drain(func() {
			if got := s.get(); got != before+text {
				t.Errorf("%d bytes, want %d", len(got), len(before)+len(text))
			}
			if _, err := write.WriteString("later"); err != nil {
				t.Error(err)
			}
		})
		if got := s.get(); got != before+text {
			t.Error("it took what came after")
		}
		source.Drain(nil)
	}
}

func TestEveryByteArrivesOnceWhoeverReads(t *testing.T) {
	source, write, s := open(t)
	go source.Run()
	var want strings.Builder
	for n := range 500 {
		text := strings.Repeat(string(rune('a'+n%26)), n)
		want.WriteString(text)
		if _, err := write.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if n%3 == 0 {
			source.Drain(nil)
		}
		source.Hold(func() {
			before := s.get()
			if s.get() != before {
				t.Error("bytes are taken while they are held")
			}
		})
	}
	source.Drain(nil)
	if got := s.get(); got != want.String() {
		t.Errorf("%d bytes, want %d", len(got), want.Len())
	}
}

func TestASourceEnds(t *testing.T) {
	for name, end := range map[string]func(source *Source, write *os.File){
		"closed":                func(source *Source, _ *os.File) { source.Close() },
		"nobody can write more": func(_ *Source, write *os.File) { write.Close() }, // it would spin
	} {
		t.Run(name, func(t *testing.T) {
			source, write, _ := open(t)
			done := make(chan struct{})
			go func() {
				source.Run()
				close(done)
			}()
			end(source, write)
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Fatal("it reads on")
			}
		})
	}
}

func TestWhichFileItReads(t *testing.T) {
	source, write, _ := open(t)
	ours, err := write.Stat()
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.Stat(filepath.Dir(os.Args[0]))
	if err != nil {
		t.Fatal(err)
	}
	if !source.Is(ours) || source.Is(other) {
		t.Error("it does not know its file")
	}
}
