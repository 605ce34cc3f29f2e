// Package guest runs another program as the main process of a container beside the box, so that it can be ended:
// a container in a pod cannot be stopped from outside, and its main process takes no signal that it does not handle.
package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// Verbs of boxkit that this package has.
const (
	Run  = "run"
	Kill = "kill"
)

// Usage is how they are called.
const Usage = "boxkit run PROGRAM [ARGUMENT…] | kill"

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const (
	codeNotExecutable = 126 // as shells and Docker have it
	codeNotFound      = 127
	codeKilled        = 128 + int(syscall.SIGKILL)
)

// killed is the signal that Kill sends. Programs in the container may send it too: they end what is theirs.
const killed = syscall.SIGUSR1

// Main starts a program, passes TERM, INT, HUP and QUIT on to it, and returns its exit code, 128 and the signal's number
// where a signal ended it. The signal of Kill ends every process of the container.
func Main(argv []string, diagnostics io.Writer) int {
	fail := func(code int, err error) int {
		fmt.Fprintf(diagnostics, "boxkit run: %v\n", err)
		return code
	}
	if len(argv) == 0 {
		return fail(codeNotFound, errors.New("the image says no program to run: give the step a cmd"))
	}
	if os.Getenv("PATH") == "" {
		_ = os.Setenv("PATH", defaultPath)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		if errors.Is(err, os.ErrPermission) {
			return fail(codeNotExecutable, err)
		}
		return fail(codeNotFound, err)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, killed, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	process, err := os.StartProcess(path, argv, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return fail(codeNotExecutable, err)
	}
	go func() {
		for each := range signals {
			if each != killed {
				_ = process.Signal(each)
				continue
			}
			if os.Getpid() == 1 {
				_ = syscall.Kill(-1, syscall.SIGKILL) // all but ourselves
			} else {
				_ = process.Kill()
			}
		}
	}()
	return reap(process.Pid)
}

// reap takes the status of every process that ends, and returns the exit code of the one that matters.
func reap(main int) int {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil: // no process is left to wait for
			return codeKilled
		case pid == main && status.Signaled():
			return 128 + int(status.Signal())
		case pid == main && status.Exited():
			return status.ExitStatus()
		}
	}
}

// End has the container's main process, if it is ours, end everything in it.
func End() error {
	return syscall.Kill(1, killed)
}
