package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/nonce"
	"sentinel.wercker.com/boxkit/internal/proc"
	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/services"
	"sentinel.wercker.com/boxkit/internal/shell"
	"sentinel.wercker.com/boxkit/internal/steplog"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// runner is the one goroutine that runs steps. Nobody else touches its fields.
type runner struct {
	*Session
	shell     *shell.Shell
	phase     string   // of the shell
	flags     string   // x and v, as the last step left them
	inits     []string // init.sh of earlier steps
	serial    int      // of driver files
	afterFail bool
}

const (
	startLimit = 60 * time.Second // for a new shell to begin
	pendingMax = 1000             // names in the last record

	terminatedUploads = 15 * time.Second // for uploads once the kubelet wants the box to end
)

// run works until the session is closed or terminated, and returns the exit code of boxkit.
func (r *runner) run() int {
	reason := r.work()
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.finish(reason)
	if reason == "Terminated" {
		return 128 + int(syscall.SIGTERM)
	}
	return 0
}

func (r *runner) work() (reason string) {
	served := false
	for {
		next, closing := r.next()
		opened := r.isOpen()
		if opened && !served {
			served = true
			r.warm()
			continue
		}
		if next == nil {
			if closing {
				return "Closed"
			}
			select {
			case <-r.changed:
			case <-r.terminated:
				return "Terminated"
			}
			continue
		}
		if why, message := r.skip(next); why != "" {
			r.endSkipped(next, why, message)
			continue
		}
		if next.spec.Phase == wire.PhaseAfter && !r.isMainOver() {
			r.beginAfter()
		}
		r.runStep(next)
		select {
		case <-r.terminated:
			return "Terminated"
		default:
		}
	}
}

func (r *runner) isOpen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open != nil
}

func (r *runner) isMainOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mainOver
}

// next is the first queued step, those of the main phase first.
func (r *runner) next() (*step, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var after *step
	for _, each := range r.steps {
		if each.state != "queued" {
			continue
		}
		if each.spec.Phase == wire.PhaseMain {
			return each, r.closing
		}
		if after == nil {
			after = each
		}
	}
	return after, r.closing
}

// skip says why a step does not run, if so.
func (r *runner) skip(next *step) (reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancelled != nil && (next.spec.Phase == wire.PhaseMain || !r.cancelled.After) {
		return "Cancelled", r.cancelled.Reason
	}
	if next.spec.Phase == wire.PhaseAfter {
		if r.afterFail {
			return "Skipped", "an earlier after-step failed"
		}
		return "", ""
	}
	if failed := r.failed(); failed != nil {
		return "Skipped", fmt.Sprintf("%s failed", failed.spec.DisplayName)
	}
	if left, limited := r.buildLeft(); limited && left <= 0 {
		return "BuildTimeout", "the build's time is over"
	}
	return "", ""
}

func (r *runner) endSkipped(s *step, reason, message string) {
	r.mu.Lock()
	s.state, s.reason, s.message = "skipped", reason, message
	r.mu.Unlock()
	r.Journal.Append(time.Now(), "skipped",
		wire.SkippedRecord{Ordinal: s.spec.Ordinal, Reason: reason, Message: r.short(message)})
}

// buildLeft is what remains of the build's time. r.mu is held, or the field is constant by now.
func (r *runner) buildLeft() (time.Duration, bool) {
	limit := r.open.Limits.Build.Duration()
	return limit - time.Since(r.opened), limit > 0
}

// warm starts the shell while the services come up, so that the first step begins at once.
func (r *runner) warm() {
	if r.shellError == nil {
		_ = r.ensureShell(wire.PhaseMain) // its error is the first step's
	}
	if len(r.open.Services) > 0 {
		ctx, cancel := context.WithCancel(r.ctx)
		defer cancel()
		go func() {
			select {
			case <-r.cancelNow:
			case <-r.terminated:
			case <-ctx.Done():
			}
			cancel()
		}()
		services.Await(ctx, r.open.Services, func(record wire.ServiceRecord) {
			r.Journal.Append(time.Now(), "service", record)
		})
		_ = services.AddHosts(services.HostsFile, r.open.Services) // the first step begins now; keepHosts looks now and then
	}
}

// beginAfter ends the main phase: everything that still runs is stopped.
func (r *runner) beginAfter() {
	r.mu.Lock()
	r.mainOver = true
	grace := r.open.Limits.Grace.Duration()
	r.mu.Unlock()
	r.quiesce(grace)
}

// quiesce lets the shell end by itself, so that its EXIT traps run, and stops whatever is left.
func (r *runner) quiesce(grace time.Duration) {
	if r.shell != nil && !r.shell.Dead {
		r.shell.Stdin.Close()
		select {
		case r.shell.Status = <-r.shell.Exited:
			r.shell.Dead = true
		case <-time.After(min(grace, 500*time.Millisecond)):
		}
	}
	proc.StopAll(grace)
	r.shell = nil
}

// ensureShell makes r.shell one that lives, of the given phase, that has run its start file.
func (r *runner) ensureShell(phase string) error {
	if r.shell != nil {
		select {
		case r.shell.Status = <-r.shell.Exited:
			r.shell.Dead = true
		default:
		}
		if !r.shell.Dead && r.phase == phase {
			return nil
		}
	}
	if r.shellError != nil {
		return r.shellError
	}
	env, dump, inits := r.env, r.dump, r.inits
	if phase == wire.PhaseAfter {
		env, inits = literalEnv(env, r.resultEnv()), nil
		if r.phase != wire.PhaseAfter {
			r.inits, inits, dump = nil, nil, nil
		}
	}
	if r.shell != nil && !r.shell.Dead {
		r.shell.Stdin.Close()
	}
	sh, err := shell.Start(r.reaper, shell.Spec{
		Path: r.shellPath, Args: r.shellArgs, Entrypoint: r.open.Entrypoint, Env: env,
		Dir: r.open.SourceDir, Output: r.pipeEnd, FIFO: r.status.Path,
	})
	if err != nil {
		return err
	}
	r.shell, r.phase, r.flags = sh, phase, ""
	dumpFile := ""
	if dump != nil {
		dumpFile = filepath.Join(r.dir, "spool", nonce.New())
		if err := safefile.Write(dumpFile, dump, 0o600); err != nil {
			return err
		}
		defer os.Remove(dumpFile)
	}
	nonce := nonce.New()
	mark := r.markPath()
	defer os.Remove(mark)
	start := sh.StartText(shell.BeginLine(nonce, r.status.Path, mark), r.status.Path, inits, dumpFile)
	file, err := r.writeDriver(start)
	if err != nil {
		return err
	}
	defer os.Remove(file)
	r.status.Answers.Expect(nonce)
	_ = sh.Run(file, nonce, r.status.Path) // one that is gone already is found so below, with its status
	for timer := time.After(startLimit); ; {
		select {
		case got := <-r.status.Answers.Out:
			if got.Kind == 'S' {
				return nil
			}
		case sh.Status = <-sh.Exited:
			sh.Dead = true
			if words := r.open.Entrypoint; len(words) > 0 {
				return fmt.Errorf("%w: the entrypoint %s ended with %d and did not run %s, which it must do with the words "+
					"behind it", shell.ErrNoShell, strings.Join(words, " "), proc.ExitCode(sh.Status), sh.Path)
			}
			return fmt.Errorf("%s ended with %d when it started", sh.Path, proc.ExitCode(sh.Status))
		case <-timer:
			return fmt.Errorf("%s did not start within %s", sh.Path, startLimit)
		case <-r.terminated:
			return errStopping
		}
	}
}

func (r *runner) writeDriver(text string) (string, error) {
	r.serial++
	file := filepath.Join(r.dir, "drivers", fmt.Sprint(r.serial))
	return file, safefile.Write(file, []byte(text), 0o600)
}

// markPath is the file that a driver makes when it begins.
func (r *runner) markPath() string {
	return filepath.Join(r.dir, "drivers", "begun")
}

// outcome is how a step ended.
type outcome struct {
	exit    int
	reason  string
	message string
	at      time.Time
}

// runStep runs one step from its directories to its last record.
func (r *runner) runStep(s *step) {
	spec := s.spec
	mended := r.mend()
	log, err := steplog.New(filepath.Join(r.dir, "log", fmt.Sprint(spec.Ordinal)), spec.Ordinal, r.open.Limits.Log)
	if err != nil {
		log = nil
	}
	r.mu.Lock()
	s.state = "running"
	if log != nil {
		r.logs[spec.Ordinal] = log
	}
	r.mu.Unlock()
	if log == nil {
		now := time.Now()
		r.Journal.Append(now, "started", wire.StartedRecord{Ordinal: spec.Ordinal})
		r.endStep(s, outcome{exit: -1, reason: fileReason(err), message: err.Error(), at: now}, wire.LogFacts{}, now, 0)
		return
	}
	r.console.Line("--- sentinel step=%d offset=0 id=%s name=%q", spec.Ordinal, spec.ID, r.mask(spec.DisplayName))
	cpu, kills := r.cgroup.CPUSeconds(), r.cgroup.OOMKills()
	began := time.Now()
	end := r.attempt(s, log, mended, &began)
	var facts wire.LogFacts
	r.pipe.Drain(func() {
		r.out.End()
		facts = log.Finish()
	})
	if r.cgroup.OOMKills() > kills && end.reason != "Cancelled" {
		end.reason, end.message = "OutOfMemory", "the kernel killed a process of this step: it needed more memory than the box may have"
	}
	r.endStep(s, end, facts, began, cpu)
	r.uploads.Add(fmt.Sprintf("log/%d", spec.Ordinal), log.File, facts)
}

func (r *runner) endStep(s *step, end outcome, facts wire.LogFacts, began time.Time, cpu float64) {
	message := r.stepMessage(s.spec, end)
	used := wire.Usage{Seconds: end.at.Sub(began).Seconds(), PeakMemoryBytes: r.cgroup.PeakMemory()}
	if now := r.cgroup.CPUSeconds(); now > cpu {
		used.CPUSeconds = now - cpu
	}
	r.mu.Lock()
	s.state, s.reason, s.message = "finished", end.reason, message
	if s.spec.Phase == wire.PhaseAfter && end.reason != "Passed" {
		r.afterFail = true
	}
	r.mu.Unlock()
	r.Journal.Append(end.at, "finished", wire.FinishedRecord{
		Ordinal: s.spec.Ordinal, Exit: end.exit, Reason: end.reason, Message: message, Log: facts, Usage: used,
		Artifacts: safefile.HoldsFiles(filepath.Join(r.open.ReportDir, s.spec.ID, "artifacts")),
	})
}

// attempt prepares a step, has the shell run it and waits for its end. The log receives output meanwhile.
func (r *runner) attempt(s *step, log *steplog.Log, mended error, began *time.Time) outcome {
	spec := s.spec
	started := func() {
		*began = time.Now()
		r.Journal.Append(*began, "started", wire.StartedRecord{Ordinal: spec.Ordinal})
	}
	broken := func(reason string, err error) outcome {
		started()
		exit := -1
		if reason == "ExitCode" {
			exit = 1
		}
		return outcome{exit: exit, reason: reason, message: err.Error(), at: time.Now()}
	}
	if mended != nil {
		return broken(fileReason(mended), fmt.Errorf("the session's files cannot be made again: %w", mended))
	}
	if spec.Kind == wire.KindOperator {
		r.pipe.Drain(func() { r.out.Begin(log) })
		started()
		return r.awaitVerdict(s, *began)
	}
	files, literals, err := prepareStep(spec, r.open, filepath.Join(r.dir, "tmp", spec.ID))
	if err != nil {
		return broken(fileReason(err), fmt.Errorf("cannot prepare the step: %w", err))
	}
	r.pipe.Drain(func() { r.out.Begin(log) })
	if err := r.ensureSourceDir(spec.Phase); err != nil {
		return broken("ExitCode", err)
	}
	first := true
	for try := 1; ; try++ {
		if err := r.ensureShell(spec.Phase); err != nil {
			if !first {
				return outcome{exit: -1, reason: shellReason(err), message: err.Error(), at: time.Now()}
			}
			return broken(shellReason(err), err)
		}
		nonce := nonce.New()
		file, err := r.writeDriver((&shell.Driver{
			Begin:     shell.BeginLine(nonce, r.status.Path, r.markPath()),
			SourceDir: r.open.SourceDir,
			Cwd:       spec.Cwd,
			Literals:  literals,
			Exports:   spec.Exports,
			Files:     files,
			Flags:     r.flags,
		}).Text())
		if err != nil {
			return broken(fileReason(err), err)
		}
		r.status.Answers.Expect(nonce, r.shell.Nonce)
		if first {
			started()
			first = false
		}
		_ = r.shell.Run(file, nonce, r.status.Path) // a shell that is gone is found so by wait
		end, ran := r.wait(spec, *began)
		_ = os.Remove(file)
		_ = os.Remove(r.markPath())
		if ran {
			if spec.Kind == "step" && len(files) > 0 && strings.HasSuffix(files[0], "/init.sh") {
				r.inits = append(r.inits, files[0])
			}
			return end
		}
		// The shell ended before it read our line: an earlier step took its input away. Nothing was run.
		if try == 2 {
			return outcome{exit: -1, reason: "Internal", message: "the shell ends before it runs anything", at: time.Now()}
		}
	}
}

// ensureSourceDir sees to it that the directory that every step begins in is there. After-steps get one in any case:
// they report how the build ended, be it that a step has removed everything.
func (r *runner) ensureSourceDir(phase string) error {
	dir := r.open.SourceDir
	if !missingDir(dir) {
		return nil
	}
	err := fmt.Errorf("there is no directory %s, where steps begin: correct source-dir in wercker.yml, or the step that removed it", dir)
	if phase == wire.PhaseAfter && os.MkdirAll(dir, 0o755) == nil {
		r.note(fmt.Sprintf("sentinel: %s was missing, and is an empty directory now", dir))
		return nil
	}
	r.note("sentinel: " + err.Error())
	return err
}

// note puts a line of ours into the log of the step that runs.
func (r *runner) note(text string) {
	r.pipe.Hold(func() { r.out.Note([]byte(text)) })
}

var errStopping = errors.New("the box got SIGTERM")

func shellReason(err error) string {
	switch {
	case errors.Is(err, errStopping):
		return "BoxTerminated"
	case errors.Is(err, syscall.ENOEXEC):
		return "ArchitectureMismatch"
	case errors.Is(err, shell.ErrNoShell), errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return "ShellMissing"
	}
	return "Internal"
}

// wait returns how the step ended, or ran false if the shell ended without having begun it.
func (r *runner) wait(spec *wire.Step, began time.Time) (end outcome, ran bool) {
	command := timer(spec.Timeouts.Command.Duration(), began)
	silence := spec.Timeouts.NoResponse.Duration()
	quiet := timer(silence, began)
	var build <-chan time.Time
	if left, limited := r.buildLeft(); limited && spec.Phase == wire.PhaseMain {
		build = time.After(max(left, 0))
	}
	mending := time.NewTicker(mendEvery)
	defer mending.Stop()
	cancelNow := r.cancelNow
	begun := false
	take := func(got shell.Answer) (outcome, bool) {
		switch got.Kind {
		case 'B':
			begun = true
		case 'X':
			r.keepDump(got.Dump)
		case 'S':
			r.keepDump(got.Dump)
			r.flags = shell.TraceFlags(got.Flags)
			return ended(got.Status, got.At), true
		}
		return outcome{}, false
	}
	for {
		select {
		case got := <-r.status.Answers.Out:
			if end, done := take(got); done {
				return end, true
			}
		case r.shell.Status = <-r.shell.Exited:
			r.shell.Dead = true
			at := time.Now()
			r.status.Drain() // what it still said
			_ = r.mend()
			for {
				select {
				case got := <-r.status.Answers.Out:
					if end, done := take(got); done {
						return end, true
					}
					continue
				default:
				}
				break
			}
			if _, err := os.Lstat(r.markPath()); !begun && err != nil {
				return outcome{}, false
			}
			return ended(proc.ExitCode(r.shell.Status), at), true
		case <-mending.C:
			_ = r.mend() // the next step is told if it cannot be done
		case <-command:
			return r.stopped("CommandTimeout", fmt.Sprintf("it ran longer than %s", spec.Timeouts.Command.Duration())), true
		case <-quiet:
			if left := silence - r.out.Silent(began); left > 0 {
				quiet = time.After(left)
				continue
			}
			return r.stopped("NoResponseTimeout", fmt.Sprintf("it printed nothing for %s", silence)), true
		case <-build:
			return r.stopped("BuildTimeout", fmt.Sprintf("the build ran longer than %s", r.open.Limits.Build.Duration())), true
		case <-cancelNow:
			r.mu.Lock()
			cancel := r.cancelled
			r.mu.Unlock()
			if spec.Phase == wire.PhaseAfter && cancel.After {
				cancelNow = nil // it runs in spite of the cancel
				continue
			}
			return r.stopped("Cancelled", cancel.Reason), true
		case <-r.terminated:
			return r.stopped("BoxTerminated", "the box got SIGTERM"), true
		}
	}
}

// awaitVerdict waits until the operator has done its step. No process of the box belongs to it.
func (r *runner) awaitVerdict(s *step, began time.Time) outcome {
	command := timer(s.spec.Timeouts.Command.Duration(), began)
	var build <-chan time.Time
	if left, limited := r.buildLeft(); limited && s.spec.Phase == wire.PhaseMain {
		build = time.After(max(left, 0))
	}
	cancelNow := r.cancelNow
	over := func(reason, message string) outcome {
		return outcome{exit: -1, reason: reason, message: message, at: time.Now()}
	}
	for {
		select {
		case got := <-s.verdict:
			end := ended(got.Exit, time.Now())
			if got.Message != "" {
				end.message = got.Message
			}
			return end
		case <-command:
			return over("CommandTimeout", fmt.Sprintf("it ran longer than %s", s.spec.Timeouts.Command.Duration()))
		case <-build:
			return over("BuildTimeout", fmt.Sprintf("the build ran longer than %s", r.open.Limits.Build.Duration()))
		case <-cancelNow:
			r.mu.Lock()
			cancel := r.cancelled
			r.mu.Unlock()
			if s.spec.Phase == wire.PhaseAfter && cancel.After {
				cancelNow = nil // it is done in spite of the cancel
				continue
			}
			return over("Cancelled", cancel.Reason)
		case <-r.terminated:
			return over("BoxTerminated", "the box got SIGTERM")
		}
	}
}

func timer(limit time.Duration, began time.Time) <-chan time.Time {
	if limit <= 0 {
		return nil
	}
	return time.After(max(limit-time.Since(began), 0))
}

func ended(status int, at time.Time) outcome {
	if status == 0 {
		return outcome{exit: 0, reason: "Passed", at: at}
	}
	return outcome{exit: status, reason: "ExitCode", message: fmt.Sprintf("exited with code %d", status), at: at}
}

// stopped stops every process of the steps and says so as the step's end.
func (r *runner) stopped(reason, message string) outcome {
	grace := r.open.Limits.Grace.Duration()
	if reason == "BoxTerminated" {
		grace = min(grace, 5*time.Second) // the kubelet's own grace is running
	}
	proc.StopAll(grace)
	r.status.Drain()
	r.shell.Stdin.Close()
	r.shell = nil
	return outcome{exit: -1, reason: reason, message: message, at: time.Now()}
}

func (r *runner) keepDump(dump []byte) {
	r.mu.Lock()
	r.dump = dump
	r.mu.Unlock()
}

// stepMessage is what the step wrote to its message file, else what we have to say; masked, bounded, valid UTF-8.
func (r *runner) stepMessage(spec *wire.Step, end outcome) string {
	text := end.message
	found, err := safefile.Read(filepath.Join(r.open.ReportDir, spec.ID, "message.txt"), 2*wire.MessageMax)
	if err == nil {
		if written := strings.TrimSpace(strings.ToValidUTF8(string(found), "\uFFFD")); written != "" {
			text = written
			if end.exit == -1 {
				text = end.message + ": " + written
			}
		}
	}
	return r.short(text)
}

// finish ends the session: no process of the steps' lives on, uploads get their time, and the last record is written.
func (r *runner) finish(reason string) {
	limit, grace := 60*time.Second, 2*time.Second
	terminated := r.terminated
	r.mu.Lock()
	if r.open != nil {
		limit, grace = r.open.Limits.Close.Duration(), min(grace, r.open.Limits.Grace.Duration())
	}
	r.mu.Unlock()
	if reason == "Terminated" {
		limit = min(limit, terminatedUploads)
		r.skipRest()
		terminated = nil
	}
	r.quiesce(grace)
	close(r.quiet)
	r.mu.Lock()
	caching := r.caching
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.collecting.Wait()
		r.uploads.Wait()
		close(done)
	}()
	deadline := time.Now().Add(limit)
	if reason == "Terminated" {
		caching = 0
	}
	waiting := time.Now().Add(max(limit, caching))
	for working := true; working; {
		select {
		case <-done:
			working = false
		case <-time.After(time.Until(waiting)):
			working = false
		case <-terminated:
			terminated = nil
			deadline = earliest(deadline, time.Now().Add(terminatedUploads))
			waiting = deadline
		}
	}
	// A log waits for its URL, and a refused one for a new URL, as long as there is time.
	for len(r.uploads.Pending()) > 0 && time.Now().Before(deadline) {
		select {
		case <-terminated:
			terminated = nil
			deadline = earliest(deadline, time.Now().Add(terminatedUploads))
		case <-time.After(10 * time.Millisecond):
		}
	}
	pending := r.uploads.Pending()
	pending = pending[:min(len(pending), pendingMax)]
	r.stop()
	r.Journal.Append(time.Now(), "closed", wire.ClosedRecord{Pending: pending, Reason: reason})
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// skipRest leaves no queued step undecided when the box ends.
func (r *runner) skipRest() {
	for {
		next, _ := r.next()
		if next == nil {
			return
		}
		r.endSkipped(next, "Skipped", "the box got SIGTERM")
	}
}
