package session

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// directory is where the session keeps its files. A step may remove or replace whatever it finds there: `rm -rf /run/*`
// is common in scripts that make an image small. What is open stays as it is; what is needed by name is made again.
type directory struct {
	path   string
	fifo   func(aside string) error // makes the status FIFO again
	listen func() error             // makes the control socket again
}

var directories = []string{"log", "drivers", "tmp", "spool"}

func (d *directory) join(names ...string) string {
	return filepath.Join(append([]string{d.path}, names...)...)
}

// make makes the directories.
func (d *directory) make() error {
	for _, name := range directories {
		if err := safefile.EnsureDir(d.join(name)); err != nil {
			return err
		}
	}
	return nil
}

// mend makes again what is missing. Its error is the disk's, or the user's who took our rights away.
func (d *directory) mend() error {
	if err := d.make(); err != nil {
		return err
	}
	if err := d.fifo(d.join("tmp")); err != nil {
		return err
	}
	return d.listen()
}

// missingDir says whether a directory that a step begins in is not there.
func missingDir(path string) bool {
	info, err := os.Stat(path)
	return err != nil || !info.IsDir()
}

// diskFull says whether an error is the disk's, and not what a step did to our files.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EIO)
}

// fileReason is whose fault it is that a file of the step's cannot be made.
func fileReason(err error) wire.Reason {
	switch {
	case diskFull(err):
		return wire.NodeDiskFull
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENOTEMPTY),
		errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.EEXIST),
		errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EBUSY), errors.Is(err, safefile.ErrNotRegular):
		return wire.ExitCode // an earlier step put something in its place
	}
	return wire.Internal
}
