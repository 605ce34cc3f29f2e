// Package shell starts the box's shells and has them run drivers: the text for them, and the answers they give.
package shell

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/nonce"
	"sentinel.wercker.com/boxkit/internal/safefile"
)

const (
	startWithin = 60 * time.Second       // for a new shell to begin
	mendEvery   = 200 * time.Millisecond // while a driver runs
)

// Starter starts processes: proc.Reaper.
type Starter interface {
	Start(path string, argv []string, attr *syscall.ProcAttr) (pid int, exited <-chan syscall.WaitStatus, err error)
}

// Host starts the shells of a session, one after the other. One goroutine at a time calls its methods and theirs.
type Host struct {
	processes Starter
	status    *status
	output    *os.File
	dir       string
	serial    int // of driver files
	mend      func() error
}

// NewHost makes the FIFO on which shells answer in dir, which has directories for drivers and the spool. What the shells
// print goes to output. mend is called now and then while a driver runs; it calls Mend.
func NewHost(dir string, processes Starter, output *os.File, mend func() error) (*Host, error) {
	fifo, err := newStatus(filepath.Join(dir, "status"))
	if err != nil {
		return nil, err
	}
	return &Host{processes: processes, status: fifo, output: output, dir: dir, mend: mend}, nil
}

// Mend makes the FIFO again where a step removed or replaced it. What stands in its place goes to the directory aside.
func (h *Host) Mend(aside string) error { return h.status.mend(aside) }

// Spec says how to start a shell.
type Spec struct {
	Path       string
	Args       []string
	Entrypoint []string // put before the shell
	Env        []string // literal
	Dir        string
	Inits      []string // init.sh of earlier steps, sourced in their order
	Dump       []byte   // `export -p` of an earlier shell, sourced after them; nil: none
}

// Start starts a shell and returns once it has sourced what precedes the first step. The error wraps ErrNoShell where the
// box has none, is the kernel's where it cannot be started, and ctx's cause where that ends first.
func (h *Host) Start(ctx context.Context, spec Spec) (*Shell, error) {
	s, err := h.start(spec)
	if err != nil {
		return nil, err
	}
	dump := ""
	if spec.Dump != nil {
		dump = filepath.Join(h.dir, "spool", nonce.New())
		if err := safefile.Write(dump, spec.Dump, 0o600); err != nil {
			s.stdin.Close()
			return nil, err
		}
		defer os.Remove(dump)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("%s did not start within %s", s.path, startWithin))
	defer cancel()
	end, err := s.source(ctx, func(begin string) string { return s.startText(begin, spec.Inits, dump) })
	if err == nil && !s.dead {
		s.flags = ""
		return s, nil
	}
	s.stdin.Close()
	switch {
	case err != nil:
		return nil, err
	case len(spec.Entrypoint) > 0:
		return nil, fmt.Errorf("%w: the entrypoint %s ended with %d and did not run %s, which it must do with the words "+
			"behind it", ErrNoShell, strings.Join(spec.Entrypoint, " "), end.Exit, s.path)
	}
	return nil, fmt.Errorf("%s ended with %d when it started", s.path, end.Exit)
}

// start runs a shell with the literal environment. It does nothing yet but read commands.
func (h *Host) start(spec Spec) (*Shell, error) {
	if spec.Path == "" {
		return nil, ErrNoShell
	}
	argv := append([]string{spec.Path}, spec.Args...)
	program := spec.Path
	if len(spec.Entrypoint) > 0 {
		found, _, err := Find(spec.Entrypoint[:1], spec.Env)
		if err != nil {
			return nil, fmt.Errorf("%w to be started by: the entrypoint %q is not there", ErrNoShell, spec.Entrypoint[0])
		}
		argv = append(append([]string{}, spec.Entrypoint...), argv...)
		program = found
	}
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return nil, err
	}
	defer syscall.Close(fds[0])
	stdin := os.NewFile(uintptr(fds[1]), "shell")
	dir := spec.Dir
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = "/"
	}
	pid, exited, err := h.processes.Start(program, argv, &syscall.ProcAttr{
		Dir:   dir,
		Env:   spec.Env,
		Files: []uintptr{uintptr(fds[0]), h.output.Fd(), h.output.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		stdin.Close()
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	// A step that eats all memory should lose, not boxkit. Every process may raise it.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0)
	return &Shell{host: h, path: spec.Path, trap: nonce.New(), stdin: stdin, exited: exited}, nil
}

// writeDriver makes the file that a shell is to source.
func (h *Host) writeDriver(text string) (string, error) {
	h.serial++
	file := filepath.Join(h.dir, "drivers", fmt.Sprint(h.serial))
	return file, safefile.Write(file, []byte(text), 0o600)
}

// mark is the file that a driver makes when it begins.
func (h *Host) mark() string { return filepath.Join(h.dir, "drivers", "begun") }
