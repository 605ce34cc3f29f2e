package safefile

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/filetest"
)

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	filetest.Write(t, at("file"), "text")
	filetest.Mkfifo(t, at("fifo"))
	for name, target := range map[string]string{"link": "file", "loop": "loop", "to-fifo": "fifo"} {
		if err := os.Symlink(target, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	filetest.Within(t, time.Minute, func() {
		if text, err := Read(at("file"), 2); string(text) != "te" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		for _, name := range []string{"fifo", "link", "loop", "to-fifo", "missing", "."} {
			if _, err := Read(at(name), 100); !Gone(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, name := range []string{"fifo", "link", "file"} {
			if err := Write(at(name), []byte("new"), 0o600); err != nil {
				t.Error(err)
			}
			if text := filetest.ReadAll(t, at(name)); text != "new" {
				t.Errorf("%s holds %q", name, text)
			}
		}
	})
}

func TestArtifactsAreFoundWithoutWaiting(t *testing.T) {
	dir := t.TempDir()
	filetest.Within(t, time.Minute, func() {
		if err := os.MkdirAll(filepath.Join(dir, "empty", "deeper"), 0o755); err != nil {
			t.Error(err)
		}
		if HoldsFiles(dir) {
			t.Error("directories only")
		}
		filetest.Write(t, filepath.Join(dir, "empty", "deeper", "file"), "")
		if !HoldsFiles(dir) {
			t.Error("a file")
		}
		if HoldsFiles(filepath.Join(dir, "missing")) {
			t.Error("nothing")
		}
		filetest.Mkfifo(t, filepath.Join(dir, "fifo"))
		if HoldsFiles(filepath.Join(dir, "fifo")) {
			t.Error("a FIFO is no directory")
		}
	})
}
