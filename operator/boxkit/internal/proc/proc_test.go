package proc

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/filetest"
)

// reaper is the tests' only one: it waits for every child of the process.
var reaper = NewReaper()

func start(t *testing.T, script string) (int, <-chan syscall.WaitStatus) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pid, exited, err := reaper.Start("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return pid, exited
}

func status(t *testing.T, exited <-chan syscall.WaitStatus) int {
	t.Helper()
	select {
	case got := <-exited:
		return ExitCode(got)
	case <-time.After(20 * time.Second):
		t.Fatal("it has not ended")
		return 0
	}
}

func appears(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not appear", path)
		}
	}
}

func TestTheReaperGivesEachStatusToWhomItBelongs(t *testing.T) {
	_, three := start(t, "exit 3")
	_, killed := start(t, "kill -KILL $$")
	if got := status(t, three); got != 3 {
		t.Errorf("exit code %d", got)
	}
	if got := status(t, killed); got != 137 {
		t.Errorf("exit code %d", got)
	}
	if _, _, err := reaper.Start("/missing", nil, &syscall.ProcAttr{}); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}

func TestCapturing(t *testing.T) {
	out, err := reaper.Capture("/bin/sh", []string{"sh", "-c", `printf "$A"; echo oops >&2`}, []string{"A=text"})
	if err != nil || string(out) != "text" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := reaper.Capture("/bin/sh", []string{"sh", "-c", "exit 4"}, nil); err == nil || !strings.Contains(err.Error(), "ended with 4") {
		t.Errorf("%v", err)
	}
	if _, err := reaper.Capture("/missing", nil, nil); err == nil {
		t.Error("a program that is missing")
	}
}

func TestStoppingEndsWhatLeavesQuietlyWithinItsGrace(t *testing.T) {
	if err := BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ready, left, orphan := filepath.Join(dir, "ready"), filepath.Join(dir, "left"), filepath.Join(dir, "orphan")
	_, exited := start(t, "trap ': >"+left+"; exit 6' TERM; sh -c 'sleep 100 & : >"+orphan+"' & wait; : >"+ready+"; while :; do sleep 0.05; done")
	appears(t, ready)
	appears(t, orphan)
	StopAll(time.Hour)
	if got := status(t, exited); got != 6 {
		t.Errorf("exit code %d", got)
	}
	appears(t, left)
	if living := descendants(); len(living) != 0 {
		t.Errorf("%v live on", living)
	}
	StopAll(time.Minute) // nothing is there
}

// A process that ended and was not waited for still counts: after a fork bomb the next shell could not be started.
func TestStoppingReturnsWhenEverythingWasWaitedFor(t *testing.T) {
	if err := BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	for name, grace := range map[string]time.Duration{"ended": time.Hour, "killed": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			ready := filepath.Join(t.TempDir(), "ready")
			_, exited := start(t, "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; : >"+ready+"; wait")
			appears(t, ready)
			reaper.mu.Lock() // as if its goroutine were not scheduled
			time.AfterFunc(300*time.Millisecond, reaper.mu.Unlock)
			StopAll(grace)
			if !childless() {
				t.Error("something is left to wait for")
			}
			status(t, exited)
		})
	}
}

func TestNothingIsKilledThatWasWaitedFor(t *testing.T) {
	pid, exited := start(t, "exit 3")
	if got := status(t, exited); got != 3 {
		t.Fatalf("exit code %d", got)
	}
	if reaper.mu.Lock(); reaper.waiting[pid] != nil {
		t.Error("its id is still taken for its own")
	}
	reaper.mu.Unlock()
	reaper.kill(pid)
}

func TestWhatIgnoresTERMIsKilledAfterItsGrace(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	_, exited := start(t, "trap '' TERM; : >"+ready+"; while :; do sleep 0.05; done")
	appears(t, ready)
	StopAll(300 * time.Millisecond)
	if got := status(t, exited); got != 137 {
		t.Errorf("exit code %d", got)
	}
}

func TestAProcessThatStandsStillIsStopped(t *testing.T) {
	pid, exited := start(t, "while :; do sleep 0.05; done")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	StopAll(time.Minute)
	if got := status(t, exited); got != 143 {
		t.Errorf("exit code %d", got)
	}
}

func TestCountersOfACgroup(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		cpu   float64
		peak  int64
		kills int64
	}{
		"version 2": {map[string]string{
			"cpu.stat": "usage_usec 1500000\nuser_usec 1\n", "memory.peak": "4096\n", "memory.events": "low 0\noom 3\noom_kill 2\n",
		}, 1.5, 4096, 2},
		"version 1": {map[string]string{
			"cpuacct/cpuacct.usage": "2500000000\n", "memory/memory.max_usage_in_bytes": "8192\n",
			"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
		}, 2.5, 8192, 5},
		"none":     {nil, 0, 0, 0},
		"nonsense": {map[string]string{"cpu.stat": "usage_usec\n", "memory.peak": "max\n", "memory.events": ""}, 0, 0, 0},
	} {
		dir := t.TempDir()
		for file, text := range test.files {
			filetest.Write(t, filepath.Join(dir, file), text)
		}
		c := OpenCgroup(dir)
		if cpu, peak, kills := c.CPUSeconds(), c.PeakMemory(), c.OOMKills(); cpu != test.cpu || peak != test.peak || kills != test.kills {
			t.Errorf("%s: %v %v %v", name, cpu, peak, kills)
		}
	}
}

func TestThreadsAreMade(t *testing.T) {
	MakeThreads(4)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) < 4 {
		t.Errorf("%d threads, %v", len(tasks), err)
	}
}
