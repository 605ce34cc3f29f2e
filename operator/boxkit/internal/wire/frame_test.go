package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestMessagesArriveInWhateverPieces(t *testing.T) {
	messages := []string{`{"type":"a"}`, `{}`, strings.Repeat("x", maxFrame-1), strings.Repeat("y", maxFrame), strings.Repeat("z", 3*maxFrame+5)}
	var wire []byte
	for _, message := range messages {
		wire = AppendMessage(wire, []byte(message))
	}
	for name, r := range map[string]io.Reader{
		"whole":   bytes.NewReader(wire),
		"by byte": iotest.OneByteReader(bytes.NewReader(wire)),
		"halves":  iotest.HalfReader(bytes.NewReader(wire)),
	} {
		frames := NewReader(r)
		for i, want := range messages {
			got, err := frames.Next()
			if err != nil || string(got) != want {
				t.Fatalf("%s: message %d: %d bytes, %v; want %d bytes", name, i, len(got), err, len(want))
			}
		}
		if _, err := frames.Next(); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

func TestNonsenseIsAProtocolErrorAndACutIsNot(t *testing.T) {
	parts := []byte{}
	for range 17 {
		parts = appendFrame(parts, framePart, make([]byte, maxFrame-1))
	}
	for name, test := range map[string]struct {
		wire  []byte
		wrong bool
	}{
		"too long":         {[]byte{0, 16, 0, 1, 'J'}, true},
		"empty":            {[]byte{0, 0, 0, 0, 'J'}, true},
		"unknown type":     {[]byte{0, 0, 0, 2, 'X', 1}, true},
		"log from outside": {AppendLog(nil, 1, 0, []byte("x")), true},
		"too many parts":   {parts, true},
		"cut in the head":  {[]byte{0, 0}, false},
		"cut in the body":  {[]byte{0, 0, 0, 9, 'J', '{'}, false},
	} {
		_, err := NewReader(bytes.NewReader(test.wire)).Next()
		var wrong ProtocolError
		if err == nil || errors.As(err, &wrong) != test.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(AppendMessage(nil, []byte(`{"type":"ping"}`)))
	f.Add(appendFrame(nil, framePart, []byte("{")))
	f.Fuzz(func(t *testing.T, wire []byte) {
		frames := NewReader(bytes.NewReader(wire))
		total := 0
		for {
			message, err := frames.Next()
			if err != nil {
				return
			}
			if total += len(message); total > len(wire) {
				t.Fatalf("%d bytes of messages out of %d bytes", total, len(wire))
			}
		}
	})
}
