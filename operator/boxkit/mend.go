package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A step may remove or replace whatever it finds in the session's directory: `rm -rf /run/*` is common in scripts that
// make an image small. What is open stays as it is; what is needed by name is made again.

const mendEvery = 200 * time.Millisecond // while a step runs

var sessionDirs = []string{"log", "drivers", "tmp", "spool"}

// mend makes again what is missing. Its error is the disk's, or the user's who took our rights away.
func (s *session) mend() error {
	for _, name := range sessionDirs {
		if err := ensureDir(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	if err := s.mendFIFO(); err != nil {
		return err
	}
	if s.listen != nil {
		return s.listen()
	}
	return nil
}

// mendFIFO makes the status FIFO again where its name is gone or means something else. A shell that answered meanwhile
// has made a file of that name: what it wrote there counts like what it writes to the FIFO.
func (s *session) mendFIFO() error {
	s.readStray()
	found, err := os.Lstat(s.fifoPath())
	ours, ourErr := s.fifo.file.Stat()
	if err == nil && ourErr == nil && os.SameFile(found, ours) {
		return nil
	}
	if stray, _, err := openRegular(s.fifoPath()); err == nil {
		if s.stray != nil {
			s.stray.Close()
		}
		s.stray = stray
	}
	fresh := s.fifoPath() + "." + newNonce()
	if err := syscall.Mkfifo(fresh, 0o600); err != nil {
		return fmt.Errorf("making the status FIFO again: %w", err)
	}
	if found != nil && found.IsDir() {
		_ = os.Rename(s.fifoPath(), filepath.Join(s.dir, "tmp", newNonce()))
	}
	if err := os.Rename(fresh, s.fifoPath()); err != nil {
		return fmt.Errorf("making the status FIFO again: %w", err)
	}
	file, err := os.OpenFile(s.fifoPath(), os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	source, err := newSource(file, s.answers.take)
	if err != nil {
		file.Close()
		return err
	}
	// Who has an old one open may still write to it: the latest ones go on being read.
	if s.olds = append(s.olds, s.fifo); len(s.olds) > 4 {
		s.olds[0].file.Close()
		s.olds = s.olds[1:]
	}
	s.fifo = source
	go source.run()
	s.readStray()
	return nil
}

// readStray takes what a shell has written to a file in the FIFO's place.
func (s *session) readStray() {
	if s.stray == nil {
		return
	}
	buffer := make([]byte, 64<<10)
	for range answerRoom / len(buffer) {
		n, _ := s.stray.Read(buffer)
		if n == 0 {
			return
		}
		s.answers.take(buffer[:n])
	}
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
		errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EBUSY), errors.Is(err, errNotRegular):
		return "ExitCode" // an earlier step put something in its place
	}
	return "Internal"
}
