// Package safefile opens, makes and lists files in directories that a step may write to: never waiting, never following a
// symlink at the end of a path.
package safefile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNotRegular means that there is something else than a regular file where one was looked for.
var ErrNotRegular = errors.New("not a regular file")

// OpenRegular opens a file that a step may have put there. It never waits, as opening a FIFO would, never follows a
// symlink, and takes nothing but a regular file.
func OpenRegular(path string) (*os.File, fs.FileInfo, error) {
	file, err := Open(path, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// Open opens a path for reading, without waiting and without following a symlink at its end.
func Open(path string, flags int) (*os.File, error) {
	flags |= os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOFOLLOW | syscall.O_CLOEXEC
	var fd int
	var err error
	for {
		if fd, err = syscall.Open(path, flags, 0); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ReadDir lists a directory, unsorted. Something else in its place is an error.
func ReadDir(path string) ([]string, error) {
	dir, err := Open(path, syscall.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// Create makes a new regular file in place of whatever has that name: a step may have put a FIFO or symlink there.
func Create(path string, mode fs.FileMode) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, mode)
}

// Write is os.WriteFile with createNew.
func Write(path string, data []byte, mode fs.FileMode) error {
	file, err := Create(path, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// Read reads at most limit bytes of a regular file.
func Read(path string, limit int64) ([]byte, error) {
	file, _, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit))
}

// EnsureDir makes a directory, in place of whatever else has that name.
func EnsureDir(path string) error {
	if info, err := os.Lstat(path); err == nil && !info.IsDir() {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return os.MkdirAll(path, 0o755)
}

// Gone says whether an error means that a file was removed or replaced since it was seen.
func Gone(err error) bool {
	for _, each := range []error{fs.ErrNotExist, ErrNotRegular, syscall.ELOOP, syscall.ENOTDIR, syscall.ENXIO, syscall.ESTALE} {
		if errors.Is(err, each) {
			return true
		}
	}
	return false
}

const looksMax = 20000 // directories and files that holdsFiles looks at

// HoldsFiles says whether there is anything below a directory but directories. One too large to look through has some.
func HoldsFiles(dir string) bool {
	looks := 0
	var look func(path string) bool
	look = func(path string) bool {
		names, err := ReadDir(path)
		if err != nil {
			return false
		}
		for _, name := range names {
			if looks++; looks > looksMax {
				return true
			}
			inner := filepath.Join(path, name)
			info, err := os.Lstat(inner)
			if err == nil && (!info.IsDir() || look(inner)) {
				return true
			}
		}
		return false
	}
	return look(dir)
}
