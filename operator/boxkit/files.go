package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// errNotRegular means that there is something else than a regular file where one was looked for.
var errNotRegular = errors.New("not a regular file")

// openRegular opens a file that a step may have put there. It never waits, as opening a FIFO would, never follows a
// symlink, and takes nothing but a regular file.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	file, err := openAs(path, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// openAs opens a path for reading, without waiting and without following a symlink at its end.
func openAs(path string, flags int) (*os.File, error) {
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

// readDir lists a directory, unsorted. Something else in its place is an error.
func readDir(path string) ([]string, error) {
	dir, err := openAs(path, syscall.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// createNew makes a new regular file in place of whatever has that name: a step may have put a FIFO or symlink there.
func createNew(path string, mode fs.FileMode) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, mode)
}

// writeNew is os.WriteFile with createNew.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	file, err := createNew(path, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// readRegular reads at most limit bytes of a regular file.
func readRegular(path string, limit int64) ([]byte, error) {
	file, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit))
}

// ensureDir makes a directory, in place of whatever else has that name.
func ensureDir(path string) error {
	if info, err := os.Lstat(path); err == nil && !info.IsDir() {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return os.MkdirAll(path, 0o755)
}

// gone says whether an error means that a file was removed or replaced since it was seen.
func gone(err error) bool {
	for _, each := range []error{fs.ErrNotExist, errNotRegular, syscall.ELOOP, syscall.ENOTDIR, syscall.ENXIO, syscall.ESTALE} {
		if errors.Is(err, each) {
			return true
		}
	}
	return false
}

const looksMax = 20000 // directories and files that holdsFiles looks at

// holdsFiles says whether there is anything below a directory but directories. One too large to look through has some.
func holdsFiles(dir string) bool {
	looks := 0
	var look func(path string) bool
	look = func(path string) bool {
		names, err := readDir(path)
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
