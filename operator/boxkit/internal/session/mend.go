package session

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/safefile"
)

// A step may remove or replace whatever it finds in the session's directory: `rm -rf /run/*` is common in scripts that
// make an image small. What is open stays as it is; what is needed by name is made again.

const mendEvery = 200 * time.Millisecond // while a step runs

var sessionDirs = []string{"log", "drivers", "tmp", "spool"}

// mend makes again what is missing. Its error is the disk's, or the user's who took our rights away.
func (s *Session) mend() error {
	for _, name := range sessionDirs {
		if err := safefile.EnsureDir(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	if err := s.status.Mend(filepath.Join(s.dir, "tmp")); err != nil {
		return err
	}
	if s.listen != nil {
		return s.listen()
	}
	return nil
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
func fileReason(err error) string {
	switch {
	case diskFull(err):
		return "NodeDiskFull"
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENOTEMPTY),
		errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.EEXIST),
		errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EBUSY), errors.Is(err, safefile.ErrNotRegular):
		return "ExitCode" // an earlier step put something in its place
	}
	return "Internal"
}
