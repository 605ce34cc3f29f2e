package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const threads = 16

// runInit is the box's main process. It returns the exit code once the session has ended.
func runInit() (int, error) {
	runtime.GOMAXPROCS(min(runtime.NumCPU(), 4))
	makeThreads(threads)
	if os.Getpid() != 1 {
		if err := becomeSubreaper(); err != nil {
			return 0, fmt.Errorf("becoming a subreaper: %w", err)
		}
	}
	// Caught and thrown away, not ignored: an ignored signal would stay ignored in every step.
	hang := make(chan os.Signal, 1)
	signal.Notify(hang, syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGINT)
	dir := sessionDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("making the session's directory: %w", err)
	}
	if err := tune(); err != nil {
		return 0, err
	}
	v := &server{path: filepath.Join(dir, "control.sock")}
	s, err := newSession(dir, fromEnv("SENTINEL_KIT_DIR", "/run/sentinel/kit"),
		fromEnv("SENTINEL_CGROUP_DIR", "/sys/fs/cgroup"), newReaper(), newConsole(os.Stdout), v.wake)
	if err != nil {
		return 0, err
	}
	v.session, s.listen = s, v.mend
	if err := writeNew(filepath.Join(dir, "pid"), fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		return 0, err
	}
	if err := v.listen(); err != nil {
		return 0, fmt.Errorf("listening on the control socket: %w", err)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1)
	go func() {
		var once sync.Once
		for each := range signals {
			if each == syscall.SIGUSR1 { // an attach found no socket
				if err := v.listen(); err != nil {
					s.console.line("--- sentinel: listening again: %v", err)
				}
				continue
			}
			once.Do(s.terminate)
		}
	}()
	code := (&runner{session: s}).run()
	v.end(5 * time.Second)
	select {
	case <-s.console.drained():
	case <-time.After(2 * time.Second):
	}
	return code, nil
}

// tune lets tests shorten the heartbeat.
func tune() error {
	for name, value := range map[string]*time.Duration{
		"SENTINEL_HEARTBEAT": &heartbeat, "SENTINEL_SILENCE": &silence,
	} {
		if text := os.Getenv(name); text != "" {
			parsed, err := time.ParseDuration(text)
			if err != nil || parsed <= 0 {
				return fmt.Errorf("%s: %q is no duration", name, text)
			}
			*value = parsed
		}
	}
	return nil
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
