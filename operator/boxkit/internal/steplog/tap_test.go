package steplog

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/mask"
)

// screen is a reader of the console that can stall.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(data)
}

func drained(t *testing.T, c *Console) {
	t.Helper()
	select {
	case <-c.Drained():
	case <-time.After(20 * time.Second):
		t.Fatal("the console is never drained")
	}
}

func TestOutputGoesToTheLogOfTheStepThatRuns(t *testing.T) {
	var screen screen
	console := NewConsole(&screen)
	tap, err := NewTap(console, func() {})
	if err != nil {
		t.Fatal(err)
	}
	print := func(text string) {
		if _, err := tap.WriteEnd().WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	run := func(ordinal int, work func()) string {
		log, err := New(filepath.Join(t.TempDir(), "log"), ordinal, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		console.Line("--- step %d", ordinal)
		tap.Begin(log)
		work()
		facts := tap.Finish(log)
		text, err := os.ReadFile(log.path)
		if err != nil {
			t.Fatal(err)
		}
		read := make([]byte, log.Readable())
		if n, _ := log.ReadAt(read, 0); int64(n) != facts.Bytes || facts.SHA256 != sum(string(text)) || !bytes.Equal(read, text) {
			t.Errorf("%d bytes of %q, %+v", n, text, facts)
		}
		return string(text)
	}
	tap.SetMasks(mask.NewSet([][]byte{[]byte("s3cret-77")}))
	if got := run(1, func() { print("it is s3cret"); print("-77\nand s3c") }); got != "it is ****\nand s3c" {
		t.Errorf("%q", got)
	}
	print("from the background\n")
	tap.Note("a service died")
	if got := run(2, func() { print("half a line"); tap.Note("noted"); print("on\n") }); got !=
		"from the background\na service died\nhalf a line\nnoted\non\n" {
		t.Errorf("%q", got)
	}
	drained(t, console)
	if got := screen.text.String(); !strings.HasPrefix(got, "--- step 1\nit is ****\nand s3c\n--- step 2\nfrom the background\n") {
		t.Errorf("the console has %q", got)
	}
}

func TestHowLongNothingWasPrinted(t *testing.T) {
	tap, err := NewTap(NewConsole(io.Discard), func() {})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Hour)
	if silent := tap.Silent(began); silent < time.Hour {
		t.Errorf("%s", silent)
	}
	tap.Note("a note is no sign of life")
	if silent := tap.Silent(began); silent < time.Hour {
		t.Errorf("%s", silent)
	}
	if _, err := tap.WriteEnd().WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if silent := tap.Silent(began); silent > time.Hour/2 {
		t.Errorf("what is printed is no sign of life: %s", silent)
	}
}

func TestAReaderThatStallsLosesBytesAndIsTold(t *testing.T) {
	read, write := io.Pipe()
	console := NewConsole(write)
	line := []byte(strings.Repeat("x", 64<<10-1) + "\n")
	for range 40 { // more than its room
		console.write(line)
	}
	console.Line("--- step 1") // not lost without a word
	got := make(chan string)
	go func() {
		text, _ := io.ReadAll(read)
		got <- string(text)
	}()
	drained(t, console)
	console.Line("--- step 2")
	drained(t, console)
	write.Close()
	text := <-got
	if !strings.Contains(text, "bytes dropped here") || !strings.HasSuffix(text, "--- step 2\n") {
		t.Errorf("%d bytes, ending with %q", len(text), text[max(0, len(text)-100):])
	}
	if len(text) > 2<<20 {
		t.Errorf("%d bytes were kept", len(text))
	}
}

func TestAConsoleWithoutAReaderIsDrained(t *testing.T) {
	read, write := io.Pipe()
	read.Close()
	console := NewConsole(write)
	console.Line("lost")
	drained(t, console)
}
