package attach

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

func TestAnAttachEndsWithItsConnectionAndHasWrittenAll(t *testing.T) {
	var out bytes.Buffer
	text := strings.Repeat("0123456789", 50_000)
	if err := relay(strings.NewReader(text), &out, time.Minute); err != nil || out.String() != text {
		t.Errorf("%d bytes of %d, %v", out.Len(), len(text), err)
	}
}

func TestAnAttachWhoseOutputNobodyReadsEnds(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if relay(strings.NewReader(strings.Repeat("x", 1<<20)), write, 100*time.Millisecond) == nil {
		t.Error("it ended without an error")
	}
	write.Close()
}
