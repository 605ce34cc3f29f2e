package tree

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestACopyKeepsModificationTimesOfFilesAndSymlinks(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	old := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	if err := os.WriteFile(filepath.Join(from, "file"), []byte("x"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("missing", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "link"} {
		if err := setModTime(filepath.Join(from, name), old); err != nil {
			t.Fatal(err)
		}
	}
	if err := Copy(from, to); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "link"} {
		info, err := os.Lstat(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.ModTime(); !got.Equal(old) {
			t.Errorf("%s: modified at %v, want %v", name, got, old)
		}
	}
}
