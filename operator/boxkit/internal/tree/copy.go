package tree

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"

	"sentinel.wercker.com/boxkit/internal/safefile"
)

// Copy copies a file or directory: modes, symlinks, and the modification times of both files and symlinks stay,
// so git's index still matches what it lists; owners do not. A directory that exists is filled, a file that exists is replaced. Sockets, devices and FIFOs are left out.
func Copy(from, to string) error {
	var late []func() error // a directory that its owner may not write gets its mode last
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inner, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, inner)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			if err := os.MkdirAll(target, 0o755); err != nil {
				return err
			}
			if mode := info.Mode().Perm(); mode != 0o755 {
				late = append(late, func() error { return os.Chmod(target, mode) })
			}
			return nil
		case entry.Type() == fs.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := os.Symlink(link, target); err != nil {
				return err
			}
			return setModTime(target, info.ModTime())
		case entry.Type().IsRegular():
			if err := CopyFile(path, target, info.Mode().Perm()); err != nil {
				return err
			}
			return setModTime(target, info.ModTime())
		}
		return nil
	})
	for i := len(late) - 1; i >= 0 && err == nil; i-- {
		err = late[i]()
	}
	return err
}

// setModTime sets access and modification time of path itself, even where it is a symlink.
func setModTime(path string, at time.Time) error {
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return err
	}
	times := [2]syscall.Timespec{syscall.NsecToTimespec(at.UnixNano()), syscall.NsecToTimespec(at.UnixNano())}
	const atFdcwd, symlinkNoFollow = -100, 0x100
	dir := atFdcwd // a constant would not convert to uintptr
	_, _, errno := syscall.Syscall6(syscall.SYS_UTIMENSAT, uintptr(dir), uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(&times)), symlinkNoFollow, 0, 0)
	if errno != 0 {
		return &os.PathError{Op: "utimensat", Path: path, Err: errno}
	}
	return nil
}

func CopyFile(from, to string, mode fs.FileMode) error {
	in, _, err := safefile.OpenRegular(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := safefile.Create(to, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Chmod(mode); err != nil { // the umask took some of it
		out.Close()
		return err
	}
	return out.Close()
}
