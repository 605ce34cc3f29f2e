package shell

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"sentinel.wercker.com/boxkit/internal/nonce"
	"sentinel.wercker.com/boxkit/internal/pipe"
	"sentinel.wercker.com/boxkit/internal/safefile"
)

// status is the FIFO on which the shells answer, and what stands in its place after a step has removed it. Only the
// goroutine that has the shell calls its methods.
type status struct {
	path    string
	answers *answers
	fifo    *pipe.Source
	olds    []*pipe.Source
	stray   *os.File // a file that a shell made in the place of the FIFO
}

// newStatus makes the FIFO and reads it from now on.
func newStatus(path string) (*status, error) {
	s := &status{path: path, answers: newAnswers()}
	file, err := openFIFO(path)
	if err != nil {
		return nil, err
	}
	if s.fifo, err = pipe.New(file, s.answers.take); err != nil {
		return nil, err
	}
	go s.fifo.Run()
	return s, nil
}

// drain takes what the shells have answered until now, be it to a FIFO that was replaced since.
func (s *status) drain() {
	for _, old := range s.olds {
		old.Drain(nil)
	}
	s.fifo.Drain(nil)
}

// openFIFO makes the status FIFO and holds it open both ways: a shell never waits to open it, and we never see its end.
func openFIFO(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("making the status FIFO: %w", err)
	}
	return os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
}

// mend makes the FIFO again where its name is gone or means something else; a directory there goes aside. A shell that answered meanwhile
// has made a file of that name: what it wrote there counts like what it writes to the FIFO.
func (s *status) mend(aside string) error {
	s.readStray()
	found, err := os.Lstat(s.path)
	if err == nil && s.fifo.Is(found) {
		return nil
	}
	if stray, _, err := safefile.OpenRegular(s.path); err == nil {
		if s.stray != nil {
			s.stray.Close()
		}
		s.stray = stray
	}
	fresh := s.path + "." + nonce.New()
	if err := syscall.Mkfifo(fresh, 0o600); err != nil {
		return fmt.Errorf("making the status FIFO again: %w", err)
	}
	if found != nil && found.IsDir() {
		_ = os.Rename(s.path, filepath.Join(aside, nonce.New()))
	}
	if err := os.Rename(fresh, s.path); err != nil {
		return fmt.Errorf("making the status FIFO again: %w", err)
	}
	file, err := os.OpenFile(s.path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	source, err := pipe.New(file, s.answers.take)
	if err != nil {
		file.Close()
		return err
	}
	// Who has an old one open may still write to it: the latest ones go on being read.
	if s.olds = append(s.olds, s.fifo); len(s.olds) > 4 {
		s.olds[0].Close()
		s.olds = s.olds[1:]
	}
	s.fifo = source
	go source.Run()
	s.readStray()
	return nil
}

// readStray takes what a shell has written to a file in the FIFO's place.
func (s *status) readStray() {
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
