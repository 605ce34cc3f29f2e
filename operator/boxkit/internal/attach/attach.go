// Package attach joins a pair of streams, an exec of the operator's, to the control socket.
package attach

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/safefile"
)

const (
	attachWait = 10 * time.Second
	writeLimit = 60 * time.Second       // for one write to stdout: longer than boxkit waits for us
	callAfter  = 300 * time.Millisecond // without a socket until PID 1 is asked to listen again
)

// Run joins in and out to the control socket in dir until boxkit ends the connection.
func Run(dir string, in io.Reader, out io.Writer) error {
	conn, err := dialControl(dir, attachWait)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(conn, in)
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	return relay(conn, out, writeLimit)
}

// relay copies conn to out until conn ends. Writing is watched: if our stdout is not read a write never returns, and
// an attach that waited for it would stay in the box for ever. boxkit keeps what was not written.
func relay(conn io.Reader, out io.Writer, limit time.Duration) error {
	var wrote atomic.Int64 // Unix nanoseconds at which the write under way began; 0: none
	done := make(chan struct{})
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buffer)
			if n > 0 {
				wrote.Store(time.Now().UnixNano())
				_, failed := out.Write(buffer[:n])
				wrote.Store(0)
				if failed != nil {
					err = failed
				}
			}
			if err != nil {
				close(done)
				return
			}
		}
	}()
	ticker := time.NewTicker(limit / 4)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return nil
		case now := <-ticker.C:
			if began := wrote.Load(); began != 0 && now.UnixNano()-began > int64(limit) {
				return fmt.Errorf("stdout was not read for %s", limit)
			}
		}
	}
}

// dialControl waits for the socket: the operator comes as soon as the container exists. Where the journal is there and
// the socket is not, a step removed it: PID 1 listens again when it gets the signal.
func dialControl(dir string, limit time.Duration) (net.Conn, error) {
	handle, err := waitDir(dir, limit)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	address := fmt.Sprintf("/proc/self/fd/%d/control.sock", handle.Fd())
	began := time.Now()
	called := false
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		conn, err := net.Dial("unix", address)
		if err == nil {
			return conn, nil
		}
		waited := time.Since(began)
		if waited > limit {
			return nil, fmt.Errorf("no control socket in %s within %s: %w", dir, limit, err)
		}
		if waited > callAfter && !called && errors.Is(err, fs.ErrNotExist) {
			called = callInit(dir)
		}
		time.Sleep(pause)
	}
}

// callInit signals the boxkit that owns the session, if it is one: its pid file is in a directory that steps can write.
func callInit(dir string) bool {
	pid := 1 // a step may have removed the file, and in a pod it is always this
	text, err := safefile.Read(filepath.Join(dir, "pid"), 32)
	if err == nil {
		if written, err := strconv.Atoi(string(bytes.TrimSpace(text))); err == nil && written > 0 {
			pid = written
		}
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	words := bytes.Split(command, []byte{0})
	if err != nil || len(words) < 2 || filepath.Base(string(words[0])) != "boxkit" || string(words[1]) != "init" {
		return false
	}
	return syscall.Kill(pid, syscall.SIGUSR1) == nil
}

func waitDir(dir string, limit time.Duration) (*os.File, error) {
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		handle, err := safefile.Open(dir, syscall.O_DIRECTORY)
		if err == nil {
			return handle, nil
		}
		if time.Since(began) > limit {
			return nil, fmt.Errorf("no session within %s: %w", limit, err)
		}
	}
}
