// Package tree packs directories as tar archives, and copies them. Whatever a step left there is dealt with.
package tree

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/safefile"
)

var ErrTooLarge = errors.New("the archive is larger than its limit")

// packer writes what a step left as a tar archive. Processes of the build may still write there: a file that went is
// left out, one that became shorter is filled up with zeros, one that grew is cut where it ended when it was opened.
// Who reads the archive needs no extensions: a hole of a sparse file is stored as zeros, but costs no disk on its way.
type packer struct {
	archive *tar.Writer
	base    string // names in the archive and in messages begin with it
	out     *capped
	plain   bool   // not compressed: what a file takes is known beforehand
	but     string // an entry of the directory itself that is left out
	files   int
	gone    names
	changed names
	skipped names // sockets, devices and FIFOs
}

// names counts files and remembers the first of them.
type names struct {
	count int
	first []string
}

const namesShown = 3

func (n *names) add(name string) {
	if n.count++; len(n.first) < namesShown {
		n.first = append(n.first, name)
	}
}

func (n *names) String() string {
	text := strings.Join(n.first, ", ")
	if more := n.count - len(n.first); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// notice says what is not in the archive as it was, or nothing.
func (p *packer) notice() string {
	var parts []string
	if p.changed.count > 0 {
		parts = append(parts, fmt.Sprintf("%s changed while they were packed, and may be cut", &p.changed))
	}
	if p.gone.count > 0 {
		parts = append(parts, fmt.Sprintf("%s went while they were packed", &p.gone))
	}
	if p.skipped.count > 0 {
		parts = append(parts, fmt.Sprintf("%s are no files, directories or symlinks, and are left out", &p.skipped))
	}
	return strings.Join(parts, "; ")
}

// Packed says what is in an archive. Empty means that nothing was there, and that nothing was written.
type Packed struct {
	Empty  bool
	Files  int
	Bytes  int64
	SHA256 string // of the archive, in hexadecimal
	Notice string // what is not in it as it was, as a sentence; or nothing
}

// Pack writes a directory's contents, or one file, as a tar archive to an empty file: below one directory, called like the path
// that was asked for, as wercker's archives are; owner root, times and modes as they are.
func Pack(path string, file *os.File, limit int64, zip bool) (Packed, error) {
	// The path itself may be a symlink to a directory: what it points to is packed.
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return Packed{Empty: true}, nil
	} else if err != nil {
		return Packed{}, err
	}
	return pack(path, filepath.Base(path), "", file, limit, zip)
}

// PackContents writes a directory's contents, all but the entry `but` of it, as a compressed archive to an empty file.
// Names in the archive are those below the directory.
func PackContents(dir, but string, file *os.File) (Packed, error) {
	return pack(dir, "", but, file, 0, true)
}

func pack(path, base, but string, file *os.File, limit int64, zip bool) (Packed, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Packed{}, err
	}
	root, err := os.Lstat(real)
	if err != nil {
		return Packed{}, err
	}
	sum := sha256.New()
	out := &capped{w: io.MultiWriter(&sparse{file: file}, sum), limit: limit}
	var stream io.Writer = out
	var zipper *gzip.Writer
	if zip {
		zipper, _ = gzip.NewWriterLevel(out, gzip.BestSpeed)
		stream = zipper
	}
	p := &packer{archive: tar.NewWriter(stream), base: base, out: out, plain: !zip, but: but}
	if root.IsDir() {
		err = p.inner(real, p.base)
	} else {
		err = p.entry(real, p.base)
	}
	if err != nil {
		return Packed{}, err
	}
	if p.files == 0 {
		return Packed{Empty: true, Notice: p.notice()}, nil
	}
	if err := p.archive.Close(); err != nil {
		return Packed{}, err
	}
	if zipper != nil {
		if err := zipper.Close(); err != nil {
			return Packed{}, err
		}
	}
	if err := file.Truncate(out.n); err != nil { // the last bytes may be a hole
		return Packed{}, err
	}
	return Packed{
		Files: p.files, Bytes: out.n, SHA256: hex.EncodeToString(sum.Sum(nil)), Notice: p.notice(),
	}, nil
}

// inner packs what is in a directory.
func (p *packer) inner(dir, name string) error {
	found, err := safefile.ReadDir(dir)
	if err != nil {
		return p.leftOut(name, err)
	}
	slices.Sort(found)
	for _, each := range found {
		if name == p.base && p.but != "" && each == p.but {
			continue
		}
		if err := p.entry(filepath.Join(dir, each), filepath.Join(name, each)); err != nil {
			return err
		}
	}
	return nil
}

// leftOut notes a file that is not there any more; any other error ends the packing.
func (p *packer) leftOut(name string, err error) error {
	if !safefile.Gone(err) {
		var wrapped *fs.PathError
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	p.gone.add(name)
	return nil
}

// entry packs one file, or a directory with everything in it.
func (p *packer) entry(path, name string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return p.leftOut(name, err)
	}
	switch {
	case info.IsDir():
		if err := p.header(info, name+"/", ""); err != nil {
			return err
		}
		return p.inner(path, name)
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := os.Readlink(path)
		if errors.Is(err, syscall.EINVAL) { // no symlink any more
			err = safefile.ErrNotRegular
		}
		if err != nil {
			return p.leftOut(name, err)
		}
		return p.header(info, name, link)
	case !info.Mode().IsRegular():
		p.skipped.add(name)
		return nil
	}
	file, info, err := safefile.OpenRegular(path)
	if err != nil {
		return p.leftOut(name, err)
	}
	defer file.Close()
	if p.plain && p.out.limit > 0 && p.out.n+info.Size() > p.out.limit {
		return ErrTooLarge
	}
	if err := p.header(info, name, ""); err != nil {
		return err
	}
	if err := p.content(file, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if now, err := file.Stat(); err == nil && (now.Size() != info.Size() || !now.ModTime().Equal(info.ModTime())) {
		p.changed.add(name)
	}
	return nil
}

func (p *packer) header(info fs.FileInfo, name, link string) error {
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	header.Name = name
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
	header.Format = tar.FormatPAX
	header.ModTime = header.ModTime.Truncate(time.Second)
	if err := p.archive.WriteHeader(header); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.files++
	return nil
}

const (
	seekData = 3
	seekHole = 4
)

// content packs size bytes of a file: what it holds, and zeros for its holes and where it ends too early.
func (p *packer) content(file *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := file.Seek(at, seekData)
		switch {
		case errors.Is(err, syscall.ENXIO): // nothing but a hole, or the end
			return p.zeros(size - at)
		case err != nil: // a filesystem that knows no holes
			data = at
		}
		if err := p.zeros(min(data, size) - at); err != nil {
			return err
		}
		if at = min(data, size); at == size {
			return nil
		}
		end, err := file.Seek(at, seekHole)
		if err != nil || end <= at {
			end = size
		}
		end = min(end, size)
		n, err := io.Copy(p.archive, io.NewSectionReader(file, at, end-at))
		if err != nil {
			return err
		}
		if at += n; at < end { // it ended meanwhile
			return p.zeros(size - at)
		}
	}
	return nil
}

var zeroes [256 << 10]byte

func (p *packer) zeros(n int64) error {
	for n > 0 {
		written, err := p.archive.Write(zeroes[:min(n, int64(len(zeroes)))])
		if err != nil {
			return err
		}
		n -= int64(written)
	}
	return nil
}

// sparse writes a file, and where it gets zeroes itself, leaves a hole.
type sparse struct {
	file *os.File
}

func (s *sparse) Write(data []byte) (int, error) {
	if len(data) > 0 && &data[0] == &zeroes[0] {
		_, err := s.file.Seek(int64(len(data)), io.SeekCurrent)
		return len(data), err
	}
	return s.file.Write(data)
}

// capped counts what is written, and refuses what is over its limit.
type capped struct {
	w     io.Writer
	n     int64
	limit int64
}

func (c *capped) Write(p []byte) (int, error) {
	if c.limit > 0 && c.n+int64(len(p)) > c.limit {
		return 0, ErrTooLarge
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
