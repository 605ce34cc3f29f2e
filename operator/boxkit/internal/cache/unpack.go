package cache

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/klauspost/compress/zstd"
)

const (
	small      = 256 << 10 // bytes of files that workers write; the reader writes larger ones itself
	workers    = 2         // more of them wait for each other: neighbours in an archive are in the same directory
	waiting    = 32        // small files read ahead
	pathsMax   = 64 << 20  // bytes of all paths together
	entryBytes = 8 << 10   // of the archive, for the headers of one entry
)

// Unpack unpacks an archive below dir, which must be empty, and which nothing else uses. Where it returns an error,
// what it has made so far is still there.
//
// `shared` files can be read by every user, whatever their modes: those are in the tree that is returned.
func Unpack(ctx context.Context, r io.Reader, dir string, limits Limits, shared bool) (*Tree, error) {
	expand, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(2*window), zstd.WithDecoderMaxMemory(64<<20),
		zstd.WithDecoderConcurrency(2))
	if err != nil {
		return nil, err
	}
	defer expand.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u := &unpacker{
		dir: dir, limits: limits, shared: shared, ctx: ctx, fail: cancel, tree: &Tree{}, kinds: map[string]byte{},
		jobs: make(chan job, waiting), buffer: make([]byte, small),
	}
	var running sync.WaitGroup
	for range workers {
		running.Add(1)
		go func() {
			defer running.Done()
			u.work()
		}()
	}
	err = u.read(tar.NewReader(u.bounded(expand)))
	close(u.jobs)
	running.Wait()
	if u.err != nil {
		err = u.err
	}
	if err == nil {
		err = u.finish()
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(u.tree.Entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return u.tree, nil
}

type unpacker struct {
	dir    string
	limits Limits
	shared bool
	ctx    context.Context
	fail   context.CancelFunc
	tree   *Tree
	kinds  map[string]byte // of every path so far
	paths  int
	jobs   chan job
	pool   sync.Pool
	buffer []byte

	failing sync.Mutex
	err     error // of a worker
}

// job is a small file to write.
type job struct {
	entry Entry
	data  *[]byte
	size  int
}

// bounded is r up to the bytes that an archive within the limits may have.
func (u *unpacker) bounded(r io.Reader) io.Reader {
	if u.limits.Bytes == 0 || u.limits.Entries == 0 {
		return r
	}
	return &boundedReader{r: r, left: u.limits.Bytes + int64(u.limits.Entries)*entryBytes}
}

type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (u *unpacker) read(archive *tar.Reader) error {
	for {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, tar.ErrInsecurePath) {
			return fmt.Errorf("%w: %v", ErrInvalid, err)
		}
		if err != nil {
			return err
		}
		entry, segments, err := u.check(header)
		if err != nil {
			return err
		}
		if err := u.make(entry, segments, archive); err != nil {
			return err
		}
	}
}

// check makes an entry of a header, or says what is wrong with it.
func (u *unpacker) check(header *tar.Header) (Entry, []segment, error) {
	wrong := func(what string) (Entry, []segment, error) {
		name := header.Name
		if len(name) > 200 {
			name = name[:200] + "…"
		}
		return Entry{}, nil, fmt.Errorf("%w: %s: %q", ErrInvalid, what, name)
	}
	e := Entry{Path: header.Name, Link: header.Linkname, Mode: uint32(header.Mode) & modeBits, Size: header.Size}
	e.MTime = Time{header.ModTime.Unix(), int64(header.ModTime.Nanosecond())}
	switch header.Typeflag {
	case tar.TypeDir:
		e.Kind, e.Path, e.Link, e.Size = Dir, strings.TrimSuffix(e.Path, "/"), "", 0
	case tar.TypeReg:
		e.Kind, e.Link = File, ""
	case tar.TypeSymlink:
		e.Kind, e.Mode, e.Size = Symlink, 0, 0
	case tar.TypeLink:
		e = Entry{Kind: HardLink, Link: e.Link, Path: e.Path}
	default:
		return wrong("a kind of file that no cache has")
	}
	if !validPath(e.Path) {
		return wrong("a path that leads out of the directory, or is none")
	}
	if parent := path.Dir(e.Path); parent != "." && u.kinds[parent] != Dir {
		return wrong("a file below something that is no directory")
	}
	if u.kinds[e.Path] != 0 {
		return wrong("a path that is there twice")
	}
	if e.Kind == Symlink && (e.Link == "" || len(e.Link) > pathMax || strings.ContainsRune(e.Link, 0)) {
		return wrong("a symlink to nothing")
	}
	if e.Kind == HardLink && (u.kinds[e.Link] != File || header.Size != 0) {
		return wrong("a hard link to something that is no file of the archive")
	}
	u.kinds[e.Path] = e.Kind
	u.paths += len(e.Path) + len(e.Link)
	if u.limits.Entries > 0 && len(u.kinds) > u.limits.Entries || u.paths > pathsMax {
		return Entry{}, nil, ErrTooMany
	}
	if e.Kind != File {
		return e, nil, nil
	}
	var segments []segment
	if text, found := header.PAXRecords[sparseSize]; found {
		size, err := strconv.ParseInt(text, 10, 64)
		if err != nil || size < header.Size {
			return wrong("a size that makes no sense")
		}
		e.Size = size
		if segments, err = parseMap(header.PAXRecords[sparseMap], size); err != nil {
			return Entry{}, nil, err
		}
		if dataOf(segments) != header.Size {
			return wrong("holes that do not fit its size")
		}
	}
	if u.tree.Bytes += header.Size; u.limits.Bytes > 0 && u.tree.Bytes > u.limits.Bytes {
		return Entry{}, nil, ErrTooLarge
	}
	return e, segments, nil
}

// make makes an entry. What needs everything else to be there is left to finish.
func (u *unpacker) make(e Entry, segments []segment, content io.Reader) error {
	target := filepath.Join(u.dir, e.Path)
	u.tree.Entries = append(u.tree.Entries, e)
	switch {
	case e.Kind == Dir:
		return os.Mkdir(target, 0o700)
	case e.Kind == Symlink:
		if err := os.Symlink(e.Link, target); err != nil {
			return err
		}
		return setTimes(target, e.MTime)
	case e.Kind == HardLink:
		return nil
	case e.Size <= small && segments == nil:
		data, _ := u.pool.Get().(*[]byte)
		if data == nil {
			fresh := make([]byte, small)
			data = &fresh
		}
		if _, err := io.ReadFull(content, (*data)[:e.Size]); err != nil {
			return short(err)
		}
		select {
		case u.jobs <- job{e, data, int(e.Size)}:
			return nil
		case <-u.ctx.Done():
			return u.ctx.Err()
		}
	}
	return u.write(e, func(file *os.File) error {
		if e.Size > 0 && segments == nil {
			segments = []segment{{0, e.Size}}
		}
		for _, each := range segments {
			if _, err := file.Seek(each.at, io.SeekStart); err != nil {
				return err
			}
			part := &io.LimitedReader{R: &patient{u.ctx, content}, N: each.size}
			if _, err := io.CopyBuffer(struct{ io.Writer }{file}, part, u.buffer); err != nil {
				return err
			}
			if part.N > 0 {
				return io.ErrUnexpectedEOF
			}
		}
		return file.Truncate(e.Size)
	})
}

// patient is a reader that ends with its context.
type patient struct {
	ctx context.Context
	r   io.Reader
}

func (p *patient) Read(data []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.r.Read(data)
}

func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (u *unpacker) work() {
	for each := range u.jobs {
		err := u.ctx.Err()
		if err == nil {
			err = u.writeSmall(each.entry, (*each.data)[:each.size])
		}
		u.pool.Put(each.data)
		if err != nil {
			u.failing.Lock()
			if u.err == nil {
				u.err = err
			}
			u.failing.Unlock()
			u.fail()
		}
	}
}

// modeOf is the mode that a file gets.
func (u *unpacker) modeOf(e Entry) uint32 {
	if u.shared {
		return e.Mode&0o777 | 0o444
	}
	return e.Mode
}

// write makes a file with its mode and time.
func (u *unpacker) write(e Entry, content func(*os.File) error) error {
	name, mode := filepath.Join(u.dir, e.Path), u.modeOf(e)
	fd, exact, err := createFile(name, mode)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	if err = content(file); err == nil {
		err = finishFile(fd, mode, exact, e.MTime)
	}
	return errors.Join(err, file.Close())
}

// writeSmall is write without an os.File, which costs six more system calls: most files of a cache are small.
func (u *unpacker) writeSmall(e Entry, content []byte) error {
	name, mode := filepath.Join(u.dir, e.Path), u.modeOf(e)
	fd, exact, err := createFile(name, mode)
	if err != nil {
		return err
	}
	for err == nil && len(content) > 0 {
		var n int
		if n, err = retried(func() (int, error) { return syscall.Write(fd, content) }); n > 0 {
			content = content[n:]
		}
	}
	if err != nil {
		err = &os.PathError{Op: "write", Path: name, Err: err}
	} else {
		err = finishFile(fd, mode, exact, e.MTime)
	}
	return errors.Join(err, syscall.Close(fd))
}

// createFile makes a new file, where nothing may be yet. `exact` says whether it has the mode already.
func createFile(path string, mode uint32) (fd int, exact bool, err error) {
	// Nobody else may open it before its content and mode are there, but for those who may in the end.
	first := mode & 0o777
	fd, err = retried(func() (int, error) {
		return syscall.Open(path, syscall.O_CREAT|syscall.O_EXCL|syscall.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, first)
	})
	if err != nil {
		return fd, false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, mode == first && mode&umask() == 0, nil
}

// finishFile gives a file that is written its mode, unless that is exact, and its time.
func finishFile(fd int, mode uint32, exact bool, at Time) error {
	if !exact {
		if err := syscall.Fchmod(fd, mode); err != nil {
			return err
		}
	}
	return setTimesOf(uintptr(fd), at)
}

// retried calls again what a signal has interrupted, as Go's runtime sends them to its own threads.
func retried(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != syscall.EINTR {
			return n, err
		}
	}
}

// umask is the process's, or everything where that is not known: reading it by setting it would change it for a moment.
var umask = sync.OnceValue(func() uint32 {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if text, found := strings.CutPrefix(line, "Umask:"); found {
			if mask, err := strconv.ParseUint(strings.TrimSpace(text), 8, 32); err == nil {
				return uint32(mask)
			}
		}
	}
	return 0o777
})

// finish makes hard links, and gives directories their modes and times, the innermost first.
func (u *unpacker) finish() error {
	for _, e := range u.tree.Entries {
		if e.Kind == HardLink {
			if err := os.Link(filepath.Join(u.dir, e.Link), filepath.Join(u.dir, e.Path)); err != nil {
				return err
			}
		}
	}
	for i := len(u.tree.Entries) - 1; i >= 0; i-- {
		if e := u.tree.Entries[i]; e.Kind == Dir {
			mode := e.Mode
			if u.shared {
				mode = e.Mode&0o777 | 0o755
			}
			if err := finishDir(filepath.Join(u.dir, e.Path), mode, e.MTime); err != nil {
				return err
			}
		}
	}
	return nil
}

func finishDir(path string, mode uint32, at Time) error {
	if err := setTimes(path, at); err != nil {
		return err
	}
	return syscall.Chmod(path, mode)
}
