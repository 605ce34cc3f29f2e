package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/control"
	"sentinel.wercker.com/boxkit/internal/proc"
	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/session"
	"sentinel.wercker.com/boxkit/internal/steplog"
)

const threads = 16

// runInit is the box's main process. It returns the exit code once the session has ended.
func runInit() (int, error) {
	runtime.GOMAXPROCS(min(runtime.NumCPU(), 4))
	proc.MakeThreads(threads)
	if os.Getpid() != 1 {
		if err := proc.BecomeSubreaper(); err != nil {
			return 0, fmt.Errorf("becoming a subreaper: %w", err)
		}
	}
	// Caught and thrown away, not ignored: an ignored signal would stay ignored in every step.
	hang := make(chan os.Signal, 1)
	signal.Notify(hang, syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGINT)
	// Each has a channel of its own, from the beginning on: PID 1 loses a signal that it does not catch, and one that comes
	// while the channel is full of others.
	terminate, listen := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	signal.Notify(listen, syscall.SIGUSR1) // from an attach that found no socket
	dir := sessionDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("making the session's directory: %w", err)
	}
	out := steplog.NewConsole(os.Stdout)
	v := control.NewServer(filepath.Join(dir, "control.sock"), version)
	if err := v.Tune(os.Getenv); err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s, err := session.New(session.Config{
		Dir:     dir,
		Kit:     fromEnv("SENTINEL_KIT_DIR", "/run/sentinel/kit"),
		Cgroup:  fromEnv("SENTINEL_CGROUP_DIR", "/sys/fs/cgroup"),
		Reaper:  proc.NewReaper(),
		Console: out,
		Wake:    v.Wake,
		Listen:  func() error { return v.Mend(ctx) },
	})
	if err != nil {
		return 0, err
	}
	v.Serve(s)
	if err := safefile.Write(filepath.Join(dir, "pid"), fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		return 0, err
	}
	if err := v.Listen(ctx); err != nil {
		return 0, fmt.Errorf("listening on the control socket: %w", err)
	}
	go func() {
		<-terminate
		s.Terminate()
	}()
	go func() {
		for range listen {
			if err := v.Listen(ctx); err != nil {
				out.Line("--- sentinel: listening again: %v", err)
			}
		}
	}()
	code := s.Run(ctx, stop)
	v.End(5 * time.Second)
	select {
	case <-out.Drained():
	case <-time.After(10 * time.Second):
	}
	return code, nil
}
