package cache

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

type inode struct{ dev, ino uint64 }

type shared struct {
	inode
	bytes int64
}

// Scan lists what is below a directory. A directory that does not exist is empty.
func Scan(dir string, limits Limits) (*Tree, error) {
	s := &scanner{root: dir, limits: limits, tree: &Tree{}, shared: map[int]shared{}}
	if err := s.walk(""); err != nil {
		return nil, err
	}
	s.finish()
	return s.tree, nil
}

type scanner struct {
	root   string
	limits Limits
	tree   *Tree
	shared map[int]shared // files with more than one name, by their place in Entries
}

func (s *scanner) walk(below string) error {
	names, err := readDir(filepath.Join(s.root, below))
	if err != nil {
		return s.skip(below, err)
	}
	for _, name := range names {
		if err := s.add(filepath.Join(below, name)); err != nil {
			return err
		}
	}
	return nil
}

// skip notes what cannot be read or went meanwhile; other errors end the scan.
func (s *scanner) skip(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP):
		if s.tree.Left.Unreadable++; s.tree.Left.Unreadable == 1 {
			s.tree.Left.first = path
		}
		return nil
	}
	return err
}

func (s *scanner) add(path string) error {
	full := filepath.Join(s.root, path)
	info, err := os.Lstat(full)
	if err != nil {
		return s.skip(path, err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	entry := Entry{
		Path: path, Mode: stat.Mode & modeBits, MTime: timeOf(stat.Mtim), CTime: timeOf(stat.Ctim),
	}
	switch kind := info.Mode(); {
	case kind.IsDir():
		entry.Kind = Dir
	case kind.IsRegular():
		if os.Geteuid() != 0 {
			if err := readable(full); err != nil {
				return s.skip(path, err)
			}
		}
		entry.Kind, entry.Size = File, stat.Size
	case kind&fs.ModeSymlink != 0:
		entry.Kind, entry.Mode = Symlink, 0
		if entry.Link, err = os.Readlink(full); err != nil {
			return s.skip(path, err)
		}
	case kind&fs.ModeSocket != 0:
		s.tree.Left.Sockets++
		return nil
	case kind&fs.ModeNamedPipe != 0:
		s.tree.Left.FIFOs++
		return nil
	default:
		s.tree.Left.Devices++
		return nil
	}
	at := len(s.tree.Entries)
	s.tree.Entries = append(s.tree.Entries, entry)
	if s.limits.Entries > 0 && at >= s.limits.Entries {
		return ErrTooMany
	}
	if entry.Kind == Dir {
		return s.walk(path)
	}
	if entry.Kind != File {
		return nil
	}
	size := stat.Size
	if stat.Blocks*512 < size { // only files with holes are looked into: that needs them open
		segments, err := segmentsAt(full, size)
		if err != nil {
			return s.skip(path, err)
		}
		size = dataOf(segments)
	}
	s.tree.Bytes += size
	if stat.Nlink > 1 {
		s.shared[at] = shared{inode{uint64(stat.Dev), stat.Ino}, size}
	}
	return nil
}

// finish sorts the entries, and makes further names of a file hard links.
func (s *scanner) finish() {
	type named struct {
		Entry
		shared
	}
	all := make([]named, len(s.tree.Entries))
	for at, entry := range s.tree.Entries {
		all[at] = named{entry, s.shared[at]}
	}
	slices.SortFunc(all, func(a, b named) int { return strings.Compare(a.Path, b.Path) })
	first := map[inode]string{}
	for at, each := range all {
		if each.inode != (inode{}) {
			if path, found := first[each.inode]; found {
				each.Entry = Entry{Kind: HardLink, Link: path, Path: each.Path}
				s.tree.Bytes -= each.bytes
			} else {
				first[each.inode] = each.Path
			}
		}
		s.tree.Entries[at] = each.Entry
	}
}

// Same says whether `now`, listed below dir, is the tree `before` that was copied there from `original`.
//
// It is compared as git compares with its index: kind, mode, size, time and link must be equal. A file whose inode
// changed since it was copied (ctime) may have been written and its time set back, so that its bytes are compared too.
func Same(now *Tree, dir string, before *Tree, original string) bool {
	if len(now.Entries) != len(before.Entries) {
		return false
	}
	var touched []string
	for at := range now.Entries {
		a, b := &now.Entries[at], &before.Entries[at]
		if a.Path != b.Path || a.Kind != b.Kind || a.Mode != b.Mode || a.Link != b.Link {
			return false
		}
		if a.Kind == Dir {
			continue // its time changes with every temporary file
		}
		if a.Size != b.Size || a.MTime != b.MTime {
			return false
		}
		if a.Kind == File && a.CTime != b.CTime {
			touched = append(touched, a.Path)
		}
	}
	for _, path := range touched {
		if !sameBytes(filepath.Join(dir, path), filepath.Join(original, path)) {
			return false
		}
	}
	return true
}

func sameBytes(one, other string) bool {
	a, _, err := openFile(one)
	if err != nil {
		return false
	}
	defer a.Close()
	b, _, err := openFile(other)
	if err != nil {
		return false
	}
	defer b.Close()
	left, right := make([]byte, 128<<10), make([]byte, 128<<10)
	for {
		n, err := io.ReadFull(a, left)
		m, other := io.ReadFull(b, right)
		if n != m || !bytes.Equal(left[:n], right[:m]) {
			return false
		}
		if err != nil || other != nil {
			ended := func(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
			return ended(err) && ended(other)
		}
	}
}

// readDir lists a directory and follows no symlink, except for the root's own.
func readDir(path string) ([]string, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// openFile opens a regular file; it never waits and follows no symlink.
func openFile(path string) (*os.File, *syscall.Stat_t, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrChanged}
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info.Sys().(*syscall.Stat_t), nil
}

// readable says whether we may read a file, without opening it.
func readable(path string) error {
	const readOK = 4
	if err := syscall.Access(path, readOK); err != nil {
		return &fs.PathError{Op: "access", Path: path, Err: err}
	}
	return nil
}

// segment is a part of a file that is not a hole.
type segment struct{ at, size int64 }

const segmentsMax = 4096 // of one file; one with more is packed with its holes filled

func dataOf(segments []segment) int64 {
	var n int64
	for _, each := range segments {
		n += each.size
	}
	return n
}

func segmentsAt(path string, size int64) ([]segment, error) {
	file, _, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return segmentsOf(file, size)
}

// segmentsOf finds the data of a file; its offset afterwards is anything.
func segmentsOf(file *os.File, size int64) ([]segment, error) {
	const seekData, seekHole = 3, 4
	whole := []segment{{0, size}}
	var found []segment
	for at := int64(0); at < size; {
		data, err := file.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) { // nothing but a hole, or the end
			break
		}
		if err != nil { // a file system without holes
			return whole, nil
		}
		end, err := file.Seek(data, seekHole)
		if err != nil || end <= data {
			return whole, nil
		}
		if data >= size {
			break
		}
		end = min(end, size)
		if found = append(found, segment{data, end - data}); len(found) > segmentsMax {
			return whole, nil
		}
		at = end
	}
	return found, nil
}
