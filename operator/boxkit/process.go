package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// reaper waits for every child, our own and the orphans that fall to us, and tells those who asked.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan syscall.WaitStatus{}}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) reap() {
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

// start runs a program. Its wait status arrives on the channel once.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
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

// becomeSubreaper makes orphans fall to us where we are not PID 1.
func becomeSubreaper() error {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return errno
	}
	return nil
}

// descendants are the living processes whose chain of parents leads to us, with their parents: the steps', but not
// those that somebody put into the container by exec, whose chain ends at 0.
func descendants() map[int]int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	parent := map[int]int{}
	alive := map[int]bool{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue
		}
		// The name in parentheses may hold anything, parentheses too.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 2 {
			continue
		}
		parent[pid], _ = strconv.Atoi(string(fields[1]))
		alive[pid] = fields[0][0] != 'Z' && fields[0][0] != 'X'
	}
	self := os.Getpid()
	found := map[int]int{}
	for pid := range parent {
		if pid == self || !alive[pid] {
			continue
		}
		for at, depth := pid, 0; at > 0 && depth < len(parent)+1; at, depth = parent[at], depth+1 {
			if at == self {
				found[pid] = parent[pid]
				break
			}
		}
	}
	return found
}

const freezing = 200 * time.Millisecond

// stopAll stops every process of the steps: TERM, and after grace KILL. It returns when they are gone.
//
// They stand still while they are told: a shell that forks while we look would otherwise wait for a child that never
// heard of it.
func stopAll(grace time.Duration) {
	deadline := time.Now().Add(grace)
	told := freeze(time.Now().Add(min(grace, freezing)))
	for pid := range told {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	for pid := range told {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	// Looking around takes long where thousands of processes fight for the processor; the KILL must not wait for it.
	killed := make(chan struct{})
	killer := time.AfterFunc(time.Until(deadline), func() {
		killOnce()
		close(killed)
	})
	defer func() {
		if !killer.Stop() {
			<-killed // or it would meet the shell that is started next
		}
	}()
	self := os.Getpid()
	for pause := time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, 50*time.Millisecond) {
		living := descendants()
		if len(living) == 0 {
			return
		}
		for pid, parent := range living {
			before, heard := told[pid]
			now := programOf(pid)
			// A child that bash has forked and that was told before its exec has forgotten it; another one's parent
			// ended and left it to us.
			if heard && now != before || !heard && parent == self {
				told[pid] = now
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}
		}
		time.Sleep(min(pause, max(time.Until(deadline), 0)))
	}
	killAll()
}

// programOf is another text after each exec of a process, be it of the same program: where the kernel put things.
func programOf(pid int) string {
	vector, _ := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	return string(vector)
}

// freeze makes the processes of the steps stand still, one by one, until there are no new ones or the time is over, and
// says which there are and what they run: what multiplies faster than it can be caught is KILL's. What somebody put into
// the container by exec is left alone; whoever waits for such a process may not expect it to stop.
func freeze(until time.Time) map[int]string {
	found := map[int]string{}
	for fresh := true; fresh; fresh = fresh && time.Now().Before(until) {
		fresh = false
		for pid := range descendants() {
			if _, seen := found[pid]; !seen {
				_ = syscall.Kill(pid, syscall.SIGSTOP)
				found[pid], fresh = programOf(pid), true
			}
		}
	}
	return found
}

// killOnce kills every process of the steps that is there now. As PID 1 that is one call, atomic against forks.
func killOnce() {
	if os.Getpid() == 1 {
		_ = syscall.Kill(-1, syscall.SIGKILL)
		return
	}
	for pid := range descendants() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// killAll kills every process of the steps and waits until they are gone.
func killAll() {
	// One that hangs in the kernel cannot be waited for: the container's end is its end.
	deadline := time.Now().Add(10 * time.Second)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		killOnce()
		if len(descendants()) == 0 || time.Now().After(deadline) {
			return
		}
		time.Sleep(pause)
	}
}

// makeThreads has the runtime create its threads while it still can: a process limit that a step exhausts would
// otherwise end PID 1.
func makeThreads(n int) {
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

// capture runs a program and returns what it printed. It is bounded: what it runs is ours.
func (r *reaper) capture(path string, argv, env []string) ([]byte, error) {
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
	pid, exited, err := r.start(path, argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: []uintptr{null.Fd(), write.Fd(), null.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	write.Close()
	if err != nil {
		return nil, err
	}
	timer := time.AfterFunc(10*time.Second, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	// A process that it left behind may hold the other end.
	_ = read.SetReadDeadline(time.Now().Add(10 * time.Second))
	out, err := io.ReadAll(io.LimitReader(read, 8<<20))
	status := <-exited
	timer.Stop()
	if err != nil {
		return nil, err
	}
	if code := exitCode(status); code != 0 {
		return nil, fmt.Errorf("%s ended with %d", path, code)
	}
	return out, nil
}
