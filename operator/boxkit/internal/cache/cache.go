// Package cache keeps a directory between builds: it lists a tree, packs it into one archive, unpacks it again, and finds
// out whether it has changed since.
//
// An archive is a tar of PAX headers, compressed with zstd. Modes, times, symlinks, hard links and holes are kept; owners
// are not; sockets, devices and FIFOs are left out. An archive is never trusted: Unpack follows no link, writes nothing
// outside its directory, and stops at its limits.
//
// Not here: where an archive comes from and goes to, and how it is reported.
package cache

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Errors that say what is wrong with a tree or an archive.
var (
	ErrTooLarge = errors.New("it is larger than its limit")
	ErrTooMany  = errors.New("it has too many files")
	ErrInvalid  = errors.New("the archive is not valid")
	ErrChanged  = errors.New("files changed while they were packed")
)

// Limits bound a tree. Bytes are those of its files without their holes; 0 is no limit.
type Limits struct {
	Bytes   int64
	Entries int
}

// Kinds of entries.
const (
	Dir      = 'd'
	File     = 'f'
	Symlink  = 'l'
	HardLink = 'h' // another name of a file before it
)

// Entry is one name of a tree. Its path is relative, slash-separated, and never leads out.
type Entry struct {
	Kind  byte
	Mode  uint32 // permissions, with setuid, setgid and sticky; of a symlink always 0
	Size  int64  // of files, with their holes
	MTime Time
	CTime Time   // when the inode last changed; zero where that is not known
	Link  string // what a symlink says; the path of the file that a hard link names
	Path  string
}

// Time is seconds and nanoseconds since 1970, as the file system has it.
type Time struct{ Sec, Nsec int64 }

func (t Time) spec() syscall.Timespec { return syscall.Timespec{Sec: t.Sec, Nsec: t.Nsec} }
func (t Time) std() time.Time         { return time.Unix(t.Sec, t.Nsec) }

func timeOf(spec syscall.Timespec) Time { return Time{int64(spec.Sec), int64(spec.Nsec)} }

// Tree is what a directory holds, sorted by path: parents before their children, files before their hard links.
type Tree struct {
	Entries []Entry
	Bytes   int64 // of all files, without holes
	Left    Left
}

// Files counts what is not a directory.
func (t *Tree) Files() int {
	files := 0
	for i := range t.Entries {
		if t.Entries[i].Kind != Dir {
			files++
		}
	}
	return files
}

// Left counts what a tree does not keep.
type Left struct {
	Sockets, Devices, FIFOs int
	Unreadable              int
	first                   string // one that cannot be read
}

// String names what is left out, or is empty.
func (l Left) String() string {
	var parts []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(l.Sockets, "socket", "sockets")
	add(l.Devices, "device", "devices")
	add(l.FIFOs, "FIFO", "FIFOs")
	if l.Unreadable > 0 {
		add(l.Unreadable, "unreadable file", "unreadable files")
		parts[len(parts)-1] += fmt.Sprintf(" (%s)", l.first)
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + " left out"
}

// Size is a number of bytes for people.
func Size(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.0f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", bytes)
}

// Files is a number of files for people.
func Files(count int) string {
	if count == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", count)
}

const (
	pathMax = 4095
	nameMax = 255
)

// validPath says whether a path of an archive may be made below a directory.
func validPath(name string) bool {
	if name == "" || len(name) > pathMax || name[0] == '/' || path.Clean(name) != name || strings.ContainsRune(name, 0) {
		return false
	}
	if name == "." || name == ".." || strings.HasPrefix(name, "../") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > nameMax {
			return false
		}
	}
	return true
}

const modeBits = 0o7777

// setTimes sets access and modification time of path itself, even where it is a symlink.
func setTimes(path string, at Time) error {
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return err
	}
	const atFdcwd, symlinkNoFollow = -100, 0x100
	dir := atFdcwd // a constant would not convert to uintptr
	return utimensat(uintptr(dir), name, at, symlinkNoFollow)
}

// setTimesOf is setTimes of an open file.
func setTimesOf(fd uintptr, at Time) error { return utimensat(fd, nil, at, 0) }

func utimensat(dir uintptr, name *byte, at Time, flags uintptr) error {
	times := [2]syscall.Timespec{at.spec(), at.spec()}
	_, _, errno := syscall.Syscall6(syscall.SYS_UTIMENSAT, dir, uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(&times)), flags, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
