package shell

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/nonce"
	"sentinel.wercker.com/boxkit/internal/proc"
)

// Shell is one running shell of the box. It reads constant control lines from a pipe that only boxkit writes to, and
// answers on the status FIFO.
type Shell struct {
	host   *Host
	path   string
	trap   string // nonce of its EXIT trap
	stdin  *os.File
	exited <-chan syscall.WaitStatus
	dead   bool
	flags  string // x and v, as the last driver left them
}

// End is how a driver ended.
type End struct {
	Ran  bool // false: the shell ended before it began, and nothing of it was run
	Exit int
	At   time.Time
	Dump []byte // `export -p` where the shell still gave it, or nil
}

// Alive says whether the shell still runs.
func (s *Shell) Alive() bool {
	if !s.dead {
		select {
		case <-s.exited:
			s.dead = true
		default:
		}
	}
	return !s.dead
}

// Run has the shell source a driver, and returns how it ended: with the shell's answer, or with the shell. Where ctx ends
// first the error is its cause, and the driver goes on running; any other error means that the driver cannot be written.
func (s *Shell) Run(ctx context.Context, d Driver) (End, error) {
	return s.source(ctx, func(begin string) string { return d.text(begin, s.flags) }, s.trap)
}

// HangUp lets the shell end by itself, so that its EXIT trap runs, and waits for that until ctx ends. What it still answers
// is thrown away.
func (s *Shell) HangUp(ctx context.Context) {
	s.host.status.drain()
	s.stdin.Close()
	if s.dead {
		return
	}
	select {
	case <-s.exited:
		s.dead = true
	case <-ctx.Done():
	}
}

// source writes a driver whose first line is given to text, has it sourced, and awaits its end. Answers count that carry
// its nonce or one of the others.
func (s *Shell) source(ctx context.Context, text func(begin string) string, others ...string) (End, error) {
	h := s.host
	id := nonce.New()
	file, err := h.writeDriver(text(beginLine(id, h.status.path, h.mark())))
	if err != nil {
		return End{}, err
	}
	defer os.Remove(file)
	defer os.Remove(h.mark())
	h.status.answers.expect(append(others, id)...)
	_ = s.send(file, id) // a shell that is gone is found so by await
	return s.await(ctx)
}

// send has the shell source a file and answer. The line is constant but for the two names in it, and after it the
// options x and v are off, so that nothing of ours is ever traced.
func (s *Shell) send(file, nonce string) error {
	_, err := fmt.Fprintf(s.stdin,
		`\command . %s </dev/null; { \command echo "S %s $? $-"; \command set +xv; \command export -p; \command echo "E %s"; } 2>/dev/null >|%s`+"\n",
		singleQuoted(file), nonce, nonce, singleQuoted(s.host.status.path))
	return err
}

func (s *Shell) await(ctx context.Context) (End, error) {
	var end End
	mending := time.NewTicker(mendEvery)
	defer mending.Stop()
	answers := s.host.status.answers.out
	for {
		select {
		case got := <-answers:
			if s.take(got, &end) {
				return end, nil
			}
		case status := <-s.exited:
			s.gone(status, &end)
			return end, nil
		case <-mending.C:
			_ = s.host.mend() // where it cannot be done, the next step fails with the error
		case <-ctx.Done():
			// A driver that ended in time has ended, however late we look.
			if s.answered(&end) {
				return end, nil
			}
			select {
			case status := <-s.exited:
				s.gone(status, &end)
				return end, nil
			default:
				return end, context.Cause(ctx)
			}
		}
	}
}

// gone adds the end of the shell to what is known of a driver, unless the shell still answered.
func (s *Shell) gone(status syscall.WaitStatus, end *End) {
	s.dead = true
	at := time.Now()
	if s.answered(end) {
		return
	}
	if _, err := os.Lstat(s.host.mark()); err == nil {
		end.Ran = true
	}
	end.Exit, end.At = proc.ExitCode(status), at
}

// answered takes every answer that the shell has given until now, and says whether the driver has ended.
func (s *Shell) answered(end *End) bool {
	s.host.status.drain()
	_ = s.host.mend()
	for answers := s.host.status.answers.out; len(answers) > 0; {
		if s.take(<-answers, end) {
			return true
		}
	}
	return false
}

// take adds an answer to what is known of a driver, and says whether that is its end.
func (s *Shell) take(got answer, end *End) bool {
	end.Ran = end.Ran || got.kind != shellEnds
	switch got.kind {
	case shellEnds:
		end.Dump = got.dump
	case driverEnded:
		end.Dump, end.Exit, end.At = got.dump, got.status, got.at
		s.flags = traceFlags(got.flags)
		return true
	}
	return false
}

// traceFlags are the options of $- that a driver must switch on again.
func traceFlags(flags string) string {
	var on string
	for _, option := range "xv" {
		if strings.ContainsRune(flags, option) {
			on += string(option)
		}
	}
	return on
}
