// Package proc starts, waits for, counts and stops processes, as PID 1 of a container or as a subreaper.
package proc

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Reaper waits for every child, our own and the orphans that fall to us, and tells those who asked.
type Reaper struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

func NewReaper() *Reaper {
	r := &Reaper{waiting: map[int]chan syscall.WaitStatus{}}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			r.reap()
		}
	}()
	return r
}

func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if waiter, found := r.waiting[pid]; found {
			delete(r.waiting, pid)
			waiter <- status
		}
	}
}

// Start runs a program. Its wait status arrives on the channel once.
func (r *Reaper) Start(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	exited := make(chan syscall.WaitStatus, 1)
	r.mu.Lock() // a child that ends at once must find its waiter
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	r.waiting[pid] = exited
	return pid, exited, nil
}

// kill kills a process that was started, unless it was waited for: then its id may be another one's.
func (r *Reaper) kill(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ours := r.waiting[pid]; ours {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// BecomeSubreaper makes orphans fall to us where we are not PID 1.
func BecomeSubreaper() error {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return errno
	}
	return nil
}

// MakeThreads has the runtime create its threads while it still can: a process limit that a step exhausts would
// otherwise end PID 1.
func MakeThreads(n int) {
	var ready, done sync.WaitGroup
	release := make(chan struct{})
	ready.Add(n)
	done.Add(n)
	for range n {
		go func() {
			runtime.LockOSThread()
			ready.Done()
			<-release
			runtime.UnlockOSThread()
			done.Done()
		}()
	}
	ready.Wait()
	close(release)
	done.Wait()
}

// Capture runs a program and returns what it printed. It is bounded: what it runs is ours.
func (r *Reaper) Capture(path string, argv, env []string) ([]byte, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		write.Close()
		return nil, err
	}
	defer null.Close()
	pid, exited, err := r.Start(path, argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: []uintptr{null.Fd(), write.Fd(), null.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	write.Close()
	if err != nil {
		return nil, err
	}
	timer := time.AfterFunc(10*time.Second, func() { r.kill(pid) })
	// A process that it left behind may hold the other end.
	_ = read.SetReadDeadline(time.Now().Add(10 * time.Second))
	out, err := io.ReadAll(io.LimitReader(read, 8<<20))
	status := <-exited
	timer.Stop()
	if err != nil {
		return nil, err
	}
	if code := ExitCode(status); code != 0 {
		return nil, fmt.Errorf("%s ended with %d", path, code)
	}
	return out, nil
}

// ExitCode is a wait status as a shell reports it.
func ExitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
