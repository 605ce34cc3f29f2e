package tree

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/filetest"
	"sentinel.wercker.com/boxkit/internal/safefile"
)

// packed packs a path and returns what is in the archive: name → content, or → target.
func packed(t *testing.T, path string, limit int64) (map[string]string, Packed, *os.File, error) {
	t.Helper()
	spool, err := safefile.Create(filepath.Join(t.TempDir(), "spool"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { spool.Close() })
	record, err := Pack(path, spool, limit, false)
	if err != nil || record.Empty {
		return nil, record, spool, err
	}
	if info, _ := spool.Stat(); info.Size() != record.Bytes {
		t.Errorf("%d bytes; the record says %d", info.Size(), record.Bytes)
	}
	found := map[string]string{}
	archive := tar.NewReader(io.NewSectionReader(spool, 0, record.Bytes))
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return found, record, spool, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Size > 1<<20 {
			found[header.Name] = "large"
			continue
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		found[header.Name] = string(text) + header.Linkname
	}
}

func TestPackingTakesWhatIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "output")
	filetest.Write(t, filepath.Join(dir, "a"), "first")
	filetest.Write(t, filepath.Join(dir, "sub", "b"), "")
	filetest.Mkfifo(t, filepath.Join(dir, "fifo"))
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	filetest.Within(t, time.Minute, func() {
		got, record, _, err := packed(t, dir, 0)
		want := map[string]string{"output/a": "first", "output/sub/": "", "output/sub/b": "", "output/link": "a"}
		if err != nil || len(got) != len(want) || record.Files != 4 {
			t.Errorf("%v %+v %v", got, record, err)
		}
		for name, text := range want {
			if content, found := got[name]; !found || content != text {
				t.Errorf("%s: %q", name, content)
			}
		}
		if record.Notice != "output/fifo are no files, directories or symlinks, and are left out" {
			t.Errorf("notice %q", record.Notice)
		}
		if _, record, _, err := packed(t, filepath.Join(dir, "fifo"), 0); err != nil || !record.Empty {
			t.Errorf("a FIFO: %+v %v", record, err)
		}
	})
}

// TestPackingOutputThatIsStillWritten has a writer that appends, truncates, renames and removes meanwhile (argo#14062).
func TestPackingOutputThatIsStillWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "output")
	for i := range 300 {
		filetest.Write(t, filepath.Join(dir, "stable", string(rune('a'+i%26))+strings.Repeat("x", i/26)), "stays")
	}
	live := filepath.Join(dir, "log")
	filetest.Write(t, filepath.Join(live, "grows"), "line")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if file, err := os.OpenFile(filepath.Join(live, "grows"), os.O_APPEND|os.O_WRONLY, 0); err == nil {
				_, _ = file.WriteString("another line\n")
				file.Close()
			}
			shrinks := filepath.Join(live, "shrinks")
			if n%5 == 0 {
				_ = os.WriteFile(shrinks, nil, 0o644)
			} else {
				_ = os.WriteFile(shrinks, make([]byte, 64<<10), 0o644)
			}
			_ = os.Rename(shrinks, filepath.Join(live, "ready"))
			_ = os.Remove(filepath.Join(live, "ready"))
			if n%3 == 0 { // a file becomes a directory, a FIFO, and a file again
				odd := filepath.Join(live, "odd")
				_ = os.RemoveAll(odd)
				switch n % 9 {
				case 0:
					_ = os.Mkdir(odd, 0o755)
				case 3:
					_ = syscall.Mkfifo(odd, 0o644)
				default:
					_ = os.WriteFile(odd, []byte("odd"), 0o644)
				}
			}
		}
	}()
	for range 60 {
		got, _, _, err := packed(t, dir, 0)
		if err != nil {
			t.Errorf("packing: %v", err)
			break
		}
		stable := 0
		for name, text := range got {
			if strings.HasPrefix(name, "output/stable/") && text == "stays" {
				stable++
			}
		}
		if stable != 300 {
			t.Errorf("%d of 300 files that nobody touched", stable)
			break
		}
	}
	close(stop)
	<-stopped
}

func TestAFileThatEndsEarlyIsFilledUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	filetest.Write(t, path, "short")
	file, _, err := safefile.OpenRegular(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out strings.Builder
	archive := tar.NewWriter(&out)
	if err := archive.WriteHeader(&tar.Header{Name: "file", Size: 10, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	p := packer{archive: archive}
	if err := p.content(file, 10); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if got := out.String()[512:522]; got != "short\x00\x00\x00\x00\x00" {
		t.Errorf("%q", got)
	}
}

// TestHolesCostNoDisk packs a gibibyte of holes: what is archived are zeros that every reader understands.
func TestHolesCostNoDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparse")
	filetest.Write(t, path, "begin")
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{300 << 20, 1<<30 - 3} {
		if _, err := file.WriteAt([]byte("xyz"), at); err != nil {
			t.Fatal(err)
		}
	}
	file.Close()
	_, record, spool, err := packed(t, path, 0)
	if err != nil || record.Bytes < 1<<30 || record.Notice != "" {
		t.Fatalf("%+v, %v", record, err)
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(spool.Fd()), &stat); err != nil || stat.Blocks*512 > 16<<20 {
		t.Errorf("the archive takes %d bytes of disk, %v", stat.Blocks*512, err)
	}
	archive := tar.NewReader(io.NewSectionReader(spool, 0, record.Bytes))
	if _, err := archive.Next(); err != nil {
		t.Fatal(err)
	}
	begin := make([]byte, 8)
	if _, err := io.ReadFull(archive, begin); err != nil || string(begin) != "begin\x00\x00\x00" {
		t.Errorf("%q %v", begin, err)
	}
	if _, err := io.CopyN(io.Discard, archive, 300<<20-8); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(archive, begin); err != nil || string(begin) != "xyz\x00\x00\x00\x00\x00" {
		t.Errorf("%q %v", begin, err)
	}
	if _, _, _, err := packed(t, path, 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
}

func TestAFileThatMayNotBeReadIsNamed(t *testing.T) {
	p := packer{}
	err := p.leftOut("output/secret", &fs.PathError{Op: "open", Path: "/pipeline/output/secret", Err: syscall.EACCES})
	if !errors.Is(err, fs.ErrPermission) || err.Error() != "output/secret: permission denied" {
		t.Errorf("%v", err)
	}
}
