package attach

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRunJoinsItsStreamsToTheSocketOnceThereIsOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "session")
	time.AfterFunc(100*time.Millisecond, func() { // the operator is early
		_ = os.Mkdir(dir, 0o755)
		socket, err := net.Listen("unix", filepath.Join(dir, "control.sock"))
		if err != nil {
			return
		}
		t.Cleanup(func() { socket.Close() })
		conn, err := socket.Accept()
		if err != nil {
			return
		}
		text, _ := io.ReadAll(conn) // until its input ends
		_, _ = conn.Write(bytes.ToUpper(text))
		conn.Close()
	})
	var out bytes.Buffer
	if err := Run(dir, strings.NewReader("hello"), &out); err != nil || out.String() != "HELLO" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestWithoutASocketItSaysWhere(t *testing.T) {
	dir := t.TempDir()
	if _, err := dialControl(dir, 500*time.Millisecond); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	if _, err := dialControl(filepath.Join(dir, "missing"), 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "no session within 50ms") {
		t.Errorf("%v", err)
	}
}

// Whatever a step wrote to the pid file, nothing but a boxkit is signalled.
func TestNothingButBoxkitIsCalled(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "nonsense", "0", "-1", "4194305"} {
		if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if callInit(dir) {
			t.Errorf("%q: it signalled something", text)
		}
	}
}
