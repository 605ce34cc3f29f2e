package cache

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// grow makes a random tree below dir: names of every kind, links, holes, modes and times.
func grow(t *testing.T, random *rand.Rand, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	odd := []string{" ", "\n", "\xff\xfe", "ü", "'", `"`, `\`, "-", "*", "%s", "a=b", ".", "~", "\x01"}
	name := func() string {
		text := fmt.Sprintf("%c%d", 'a'+random.Intn(26), random.Intn(1000))
		for range random.Intn(3) {
			text = odd[random.Intn(len(odd))] + text + odd[random.Intn(len(odd))]
		}
		if random.Intn(20) == 0 {
			text += strings.Repeat("x", 255-len(text))
		}
		return text
	}
	when := func() Time {
		return Time{random.Int63n(4e9) - 1e9, random.Int63n(1e9)}
	}
	dirs, files := []string{dir}, []string{}
	modes := []uint32{0o644, 0o755, 0o600, 0o400, 0o000, 0o777, 0o4755, 0o2644, 0o1644, 0o100}
	for range 20 + random.Intn(60) {
		path := filepath.Join(dirs[random.Intn(len(dirs))], name())
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		switch kind := random.Intn(10); {
		case kind < 2:
			must(os.Mkdir(path, 0o700))
			dirs = append(dirs, path)
			continue
		case kind < 3:
			target := []string{"/etc/passwd", "../../..", "nowhere", filepath.Base(path), strings.Repeat("l/", 200)}[random.Intn(5)]
			must(os.Symlink(target, path))
		case kind < 4 && len(files) > 0:
			must(os.Link(files[random.Intn(len(files))], path))
			continue
		case kind < 5: // holes
			file, err := os.Create(path)
			must(err)
			for range random.Intn(4) {
				_, err := file.WriteAt(bytes.Repeat([]byte{byte(1 + random.Intn(255))}, 1+random.Intn(9000)), random.Int63n(4<<20))
				must(err)
			}
			info, _ := file.Stat()
			must(file.Truncate(info.Size() + random.Int63n(1<<20)))
			must(file.Close())
			files = append(files, path)
		default:
			data := make([]byte, []int{0, 1, 511, 512, 513, 70000, small, small + 1, 600000}[random.Intn(9)])
			random.Read(data)
			must(os.WriteFile(path, data, 0o600))
			files = append(files, path)
		}
		must(setTimes(path, when()))
		if info, _ := os.Lstat(path); info.Mode().IsRegular() {
			must(syscall.Chmod(path, modes[random.Intn(len(modes))]))
		}
	}
	for i := len(dirs) - 1; i > 0; i-- {
		must(setTimes(dirs[i], when()))
		must(syscall.Chmod(dirs[i], []uint32{0o755, 0o700, 0o500, 0o1777, 0o2755}[random.Intn(5)]))
	}
}

// plain is a tree for comparison: without what differs from copy to copy.
func plain(t *testing.T, tree *Tree, dir string, ignoreModes bool) []string {
	t.Helper()
	var lines []string
	for _, e := range tree.Entries {
		if ignoreModes {
			e.Mode = 0
		}
		content := ""
		if e.Kind == File {
			data, err := os.ReadFile(filepath.Join(dir, e.Path))
			if err != nil {
				t.Fatal(err)
			}
			content = fmt.Sprintf("%x", fnv(data))
		}
		lines = append(lines, fmt.Sprintf("%c %o %d %v %q %q %s", e.Kind, e.Mode, e.Size, e.MTime, e.Link, e.Path, content))
	}
	return lines
}

func fnv(data []byte) uint64 {
	sum := uint64(14695981039346656037)
	for _, b := range data {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return sum
}

func scan(t *testing.T, dir string) *Tree {
	t.Helper()
	tree, err := Scan(dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func pack(t *testing.T, dir string) ([]byte, *Tree) {
	t.Helper()
	tree := scan(t, dir)
	var archive bytes.Buffer
	if err := Pack(context.Background(), &archive, dir, tree); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes(), tree
}

var limits = Limits{Bytes: 1 << 30, Entries: 10000}

// A tree that is packed, unpacked, indexed and copied is the same tree.
func TestRoundTrip(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("files without any permission can only be read by root")
	}
	seed := time.Now().UnixNano()
	for round := range 8 {
		t.Run(fmt.Sprintf("seed %d", seed+int64(round)), func(t *testing.T) {
			random := rand.New(rand.NewSource(seed + int64(round)))
			first, middle, last := t.TempDir(), t.TempDir(), t.TempDir()
			grow(t, random, first)
			archive, tree := pack(t, first)

			unpacked, err := Unpack(context.Background(), bytes.NewReader(archive), middle, limits, true)
			if err != nil {
				t.Fatal(err)
			}
			if unpacked.Bytes != tree.Bytes {
				t.Errorf("%d bytes were packed, %d unpacked", tree.Bytes, unpacked.Bytes)
			}
			// What other users may read has other modes, and nothing else is different.
			same(t, plain(t, tree, first, true), plain(t, scan(t, middle), middle, true))

			var text bytes.Buffer
			if err := WriteIndex(&text, unpacked); err != nil {
				t.Fatal(err)
			}
			index, err := ReadIndex(bytes.NewReader(text.Bytes()), limits)
			if err != nil {
				t.Fatal(err)
			}
			if err := Copy(context.Background(), middle, index, last); err != nil {
				t.Fatal(err)
			}
			same(t, plain(t, tree, first, false), plain(t, scan(t, last), last, false))
			if !Same(scan(t, last), last, index, middle) {
				t.Error("the copy is not known as unchanged")
			}
			again, _ := pack(t, last)
			third := t.TempDir()
			if _, err := Unpack(context.Background(), bytes.NewReader(again), third, limits, false); err != nil {
				t.Fatal(err)
			}
			same(t, plain(t, tree, first, false), plain(t, scan(t, third), third, false))
		})
	}
}

func same(t *testing.T, want, got []string) {
	t.Helper()
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("entry %d of %d and %d:\n%s\n%s", i, len(want), len(got),
				append(want, make([]string, i+1)...)[i], append(got, make([]string, i+1)...)[i])
		}
	}
}

// Holes stay holes: a file of 1 GiB that holds 8 KiB takes no more than that on its way.
func TestHoles(t *testing.T) {
	from, to, box := t.TempDir(), t.TempDir(), t.TempDir()
	file, err := os.Create(filepath.Join(from, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(bytes.Repeat([]byte("x"), 8192), 512<<20); err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	file.Close()
	archive, tree := pack(t, from)
	if tree.Bytes > 64<<10 || len(archive) > 64<<10 {
		t.Skipf("this file system keeps no holes: %d bytes", tree.Bytes)
	}
	unpacked, err := Unpack(context.Background(), bytes.NewReader(archive), to, Limits{Bytes: 1 << 20, Entries: 10}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := Copy(context.Background(), to, unpacked, box); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{to, box} {
		info, err := os.Stat(filepath.Join(dir, "sparse"))
		if err != nil {
			t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); info.Size() != 1<<30 || stat.Blocks*512 > 1<<20 {
			t.Errorf("%d bytes, of which %d are on disk", info.Size(), stat.Blocks*512)
		}
	}
}

func TestSocketsAndFIFOsAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kept"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for _, name := range []string{"p", "q"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, tree := pack(t, dir)
	if len(tree.Entries) != 1 || tree.Left.String() != "1 socket, 2 FIFOs left out" {
		t.Errorf("%v, %s", tree.Entries, tree.Left)
	}
}

// What a step does to a tree is found, though it sets the times back; what it does not do to it is not.
func TestSame(t *testing.T) {
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := setTimes(path, Time{1e9, 5}); err != nil {
			t.Fatal(err)
		}
	}
	for name, each := range map[string]struct {
		change func(t *testing.T, dir string)
		same   bool
	}{
		"nothing":                 {func(*testing.T, string) {}, true},
		"a directory's time":      {func(t *testing.T, dir string) { _ = setTimes(filepath.Join(dir, "d"), Time{3, 3}) }, true},
		"a name outside":          {func(t *testing.T, dir string) { _ = os.Link(filepath.Join(dir, "d/one"), dir+".link") }, true},
		"the same bytes again":    {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "d/one"), "first") }, true},
		"other bytes, same times": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "d/one"), "fir5t") }, false},
		"a time":                  {func(t *testing.T, dir string) { _ = setTimes(filepath.Join(dir, "d/one"), Time{1e9, 6}) }, false},
		"a mode":                  {func(t *testing.T, dir string) { _ = os.Chmod(filepath.Join(dir, "d/one"), 0o600) }, false},
		"a new file":              {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "new"), "") }, false},
		"a file less":             {func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "two")) }, false},
		"a link inside":           {func(t *testing.T, dir string) { _ = os.Link(filepath.Join(dir, "two"), filepath.Join(dir, "three")) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			from, middle, box := t.TempDir(), t.TempDir(), t.TempDir()
			if err := os.Mkdir(filepath.Join(from, "d"), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(from, "d/one"), "first")
			write(t, filepath.Join(from, "two"), "second")
			archive, _ := pack(t, from)
			tree, err := Unpack(context.Background(), bytes.NewReader(archive), middle, limits, true)
			if err != nil {
				t.Fatal(err)
			}
			if err := Copy(context.Background(), middle, tree, box); err != nil {
				t.Fatal(err)
			}
			each.change(t, box)
			if got := Same(scan(t, box), box, tree, middle); got != each.same {
				t.Errorf("same: %v", got)
			}
		})
	}
}

// craft makes an archive of headers that no packer writes.
func craft(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var packed bytes.Buffer
	compress, _ := zstd.NewWriter(&packed)
	archive := tar.NewWriter(compress)
	for _, each := range headers {
		each.Format = tar.FormatPAX
		if err := archive.WriteHeader(each); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(archive, zeroes{}, each.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), compress.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func file(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: 4}
}

func directory(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}
}

func link(kind byte, name, to string) *tar.Header {
	return &tar.Header{Typeflag: kind, Name: name, Linkname: to}
}

// Nothing is written outside the directory, whatever an archive says, and bombs end at their limits.
func TestHostile(t *testing.T) {
	many := make([]*tar.Header, 200)
	for i := range many {
		many[i] = file(fmt.Sprintf("f%d", i))
	}
	sparse := file("sparse")
	sparse.PAXRecords = map[string]string{sparseSize: "10", sparseMap: "8+4"}
	backwards := file("sparse")
	backwards.PAXRecords = map[string]string{sparseSize: "100", sparseMap: "50+2,10+2"}
	bomb := &tar.Header{Typeflag: tar.TypeReg, Name: "bomb", Mode: 0o644, Size: 64 << 20}
	whole := craft(t, file("a"), file("b"))
	for name, each := range map[string]struct {
		archive []byte
		want    error
	}{
		"absolute":                   {craft(t, file("/abs")), ErrInvalid},
		"parent":                     {craft(t, file("../up")), ErrInvalid},
		"parent inside":              {craft(t, directory("d"), file("d/../../up")), ErrInvalid},
		"not clean":                  {craft(t, file("./a")), ErrInvalid},
		"long name":                  {craft(t, file(strings.Repeat("n", 256))), ErrInvalid},
		"long path":                  {craft(t, file(strings.Repeat("n/", 3000)+"n")), ErrInvalid},
		"below a symlink":            {craft(t, link(tar.TypeSymlink, "out", "/tmp"), file("out/a")), ErrInvalid},
		"symlink in place of a dir":  {craft(t, directory("d"), link(tar.TypeSymlink, "d", "/tmp")), ErrInvalid},
		"file over a symlink":        {craft(t, link(tar.TypeSymlink, "out", "/tmp/x"), file("out")), ErrInvalid},
		"hard link out":              {craft(t, link(tar.TypeLink, "passwd", "/etc/passwd")), ErrInvalid},
		"hard link up":               {craft(t, link(tar.TypeLink, "passwd", "../../etc/passwd")), ErrInvalid},
		"hard link to a symlink":     {craft(t, link(tar.TypeSymlink, "s", "/etc/passwd"), link(tar.TypeLink, "h", "s")), ErrInvalid},
		"hard link to what follows":  {craft(t, link(tar.TypeLink, "h", "f"), file("f")), ErrInvalid},
		"device":                     {craft(t, &tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}), ErrInvalid},
		"FIFO":                       {craft(t, &tar.Header{Typeflag: tar.TypeFifo, Name: "p"}), ErrInvalid},
		"twice":                      {craft(t, file("a"), file("a")), ErrInvalid},
		"holes beyond the end":       {craft(t, sparse), ErrInvalid},
		"holes backwards":            {craft(t, backwards), ErrInvalid},
		"too many":                   {craft(t, many...), ErrTooMany},
		"too large":                  {craft(t, bomb), ErrTooLarge},
		"truncated":                  {whole[:len(whole)/2], io.ErrUnexpectedEOF},
		"no archive":                 {[]byte("<html>502 Bad Gateway</html>"), zstd.ErrMagicMismatch},
		"zstd of nothing like a tar": {compressed(t, bytes.Repeat([]byte("junk"), 1000)), ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "a", "b")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := Unpack(context.Background(), bytes.NewReader(each.archive), dir, Limits{Bytes: 1 << 20, Entries: 100}, true)
			if !errors.Is(err, each.want) {
				t.Errorf("%v, want %v", err, each.want)
			}
			for _, other := range []string{outer, filepath.Join(outer, "a")} {
				if found, _ := os.ReadDir(other); len(found) != 1 {
					t.Errorf("%s holds %v", other, found)
				}
			}
		})
	}
}

func compressed(t *testing.T, data []byte) []byte {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return encoder.EncodeAll(data, nil)
}

func TestScanStopsAtItsLimit(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Scan(dir, Limits{Entries: 9}); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
	if tree, err := Scan(filepath.Join(dir, "missing"), Limits{}); err != nil || len(tree.Entries) != 0 {
		t.Errorf("%v, %v", tree, err)
	}
}

// A file that was written since the tree was listed makes the archive useless: half of it could be old.
func TestPackFindsChanges(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"shorter": func(path string) error { return os.Truncate(path, 2) },
		"longer":  func(path string) error { return os.WriteFile(path, []byte("longer than before"), 0o644) },
		"gone":    os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			if err := os.WriteFile(path, []byte("before"), 0o644); err != nil {
				t.Fatal(err)
			}
			tree := scan(t, dir)
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			err := Pack(context.Background(), io.Discard, dir, tree)
			if !errors.Is(err, ErrChanged) && !errors.Is(err, syscall.ELOOP) {
				t.Errorf("%v", err)
			}
		})
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("junk"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = Unpack(context.Background(), bytes.NewReader(compressed(t, raw)), dir, Limits{Bytes: 1 << 20, Entries: 100}, true)
		if found, _ := os.ReadDir(outer); len(found) != 1 {
			t.Errorf("%v", found)
		}
	})
}

func TestIndexRefusesWhatLeadsOut(t *testing.T) {
	for _, line := range []string{
		`f 644 1 0 0 0 0 "" "../x"`, `f 644 1 0 0 0 0 "" "/x"`, `h 644 1 0 0 0 0 "/etc/passwd" "x"`, `c 644 1 0 0 0 0 "" "x"`, "junk", `f "" "x"`,
	} {
		if _, err := ReadIndex(strings.NewReader(line+"\n"), Limits{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
