package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// descendants are the living processes whose chain of parents leads to us, with their parents: the steps', but not
// those started by an exec into the container, whose chain ends at 0.
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

// childless says whether no process is left that descends from us, be it one that has ended and is not waited for yet: that
// still counts against the limits of processes, and the next shell could not be started. It is one look at one moment,
// where descendants may miss a process that is forked while its parent ends.
func childless() bool {
	const (
		all     = 0         // P_ALL
		options = 0x1000005 // WNOWAIT, WEXITED and WNOHANG: nothing is taken from the reaper
	)
	_, _, errno := syscall.RawSyscall6(syscall.SYS_WAITID, all, 0, 0, options, 0, 0)
	return errno == syscall.ECHILD
}

const freezing = 200 * time.Millisecond

// StopAll stops every process of the steps: TERM, and after grace KILL. It returns when they are gone and were waited for.
//
// They stand still while they are signalled: a shell that forks while we look would otherwise wait for a child that never
// heard of it.
func StopAll(grace time.Duration) {
	deadline := time.Now().Add(grace)
	signalled := freeze(time.Now().Add(min(grace, freezing)))
	for pid := range signalled {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	for pid := range signalled {
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
		if childless() {
			return
		}
		for pid, parent := range descendants() {
			before, heard := signalled[pid]
			now := programOf(pid)
			// A child that bash has forked and that was signalled before its exec has forgotten it; another one's parent
			// ended and left it to us.
			if heard && now != before || !heard && parent == self {
				signalled[pid] = now
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
// says which there are and what they run: what multiplies faster than it can be caught is KILL's. Processes started by an exec into
// the container are left alone: they are not the step's.
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

// killAll kills every process of the steps and waits until they are gone, and were waited for.
func killAll() {
	// One that hangs in the kernel cannot be waited for: the container's end is its end.
	deadline := time.Now().Add(10 * time.Second)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		killOnce()
		if childless() || time.Now().After(deadline) {
			return
		}
		time.Sleep(pause)
	}
}
