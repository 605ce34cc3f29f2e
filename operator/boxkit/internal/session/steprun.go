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

	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/shell"
	"sentinel.wercker.com/boxkit/internal/steplog"
	"sentinel.wercker.com/boxkit/internal/wire"
)

const terminatedGrace = 5 * time.Second // after SIGTERM: the kubelet's own grace is running

// outcome is how a step ended.
type outcome struct {
	exit    int // -1: none
	reason  wire.Reason
	message string
	at      time.Time
}

// exited is the outcome of a step that ended by itself.
func exited(status int, at time.Time) outcome {
	if status == 0 {
		return outcome{exit: 0, reason: wire.Passed, at: at}
	}
	return outcome{exit: status, reason: wire.ExitCode, message: fmt.Sprintf("exited with code %d", status), at: at}
}

// failed is the outcome, now, of a step without an exit code.
func failed(reason wire.Reason, err error) outcome {
	return outcome{exit: -1, reason: reason, message: err.Error(), at: time.Now()}
}

// unprepared is the outcome of a step that did not begin. One that is the user's own fault counts as exit code 1.
func unprepared(reason wire.Reason, err error) outcome {
	end := failed(reason, err)
	if reason == wire.ExitCode {
		end.exit = 1
	}
	return end
}

// stopped is the outcome of a step whose context ended.
func stopped(err error) outcome {
	var why *interruption
	if errors.As(err, &why) {
		return failed(why.reason, why)
	}
	return failed(wire.BoxTerminated, errStopping)
}

// runStep runs one step from its directories to its last record.
func (r *runner) runStep(ctx, working context.Context, s *step) {
	spec := s.spec
	broken := r.files.mend()
	log, err := steplog.New(r.files.join("log", fmt.Sprint(spec.Ordinal)), spec.Ordinal, r.opened.limits.Log)
	r.queue.set(s, stateRunning, "", "")
	began := time.Now()
	if err != nil {
		r.journal.Append(began, wire.StartedRecord{Ordinal: spec.Ordinal})
		end := failed(fileReason(err), err)
		end.at = began
		r.endStep(s, end, wire.LogFacts{}, began, 0)
		return
	}
	r.logs.add(spec.Ordinal, log)
	r.header("--- sentinel step=%d offset=0 id=%s name=%q", spec.Ordinal, spec.ID, r.secrets.mask(spec.DisplayName))
	cpu, kills := r.usage.CPUSeconds(), r.usage.OOMKills()
	end, began := r.attempt(working, s, log, broken)
	facts := r.printed.Finish(log)
	if r.usage.OOMKills() > kills && end.reason != wire.Cancelled {
		end.reason, end.message = wire.OutOfMemory, "the kernel killed a process of this step: it needed more memory than the box may have"
	}
	r.endStep(s, end, facts, began, cpu)
	r.uploads.Add(ctx, fmt.Sprintf("log/%d", spec.Ordinal), log.File, facts)
}

func (r *runner) endStep(s *step, end outcome, facts wire.LogFacts, began time.Time, cpu float64) {
	message := r.stepMessage(s.spec, end)
	used := wire.Usage{Seconds: end.at.Sub(began).Seconds(), PeakMemoryBytes: r.usage.PeakMemory()}
	if now := r.usage.CPUSeconds(); now > cpu {
		used.CPUSeconds = now - cpu
	}
	r.queue.set(s, stateFinished, end.reason, message)
	r.journal.Append(end.at, wire.FinishedRecord{
		Ordinal: s.spec.Ordinal, Exit: end.exit, Reason: end.reason, Message: message, Log: facts, Usage: used,
		Artifacts: safefile.HoldsFiles(filepath.Join(r.opened.reportDir, s.spec.ID, "artifacts")),
	})
}

// attempt prepares a step, has it done and waits for its end. It is journaled as started when that is possible, or when it
// is clear that it is not. The log receives output meanwhile. broken is why the session's files cannot be made again.
func (r *runner) attempt(working context.Context, s *step, log *steplog.Log, broken error) (end outcome, began time.Time) {
	spec := s.spec
	start := func() time.Time {
		now := time.Now()
		r.journal.Append(now, wire.StartedRecord{Ordinal: spec.Ordinal})
		return now
	}
	give := func(reason wire.Reason, err error) (outcome, time.Time) {
		began := start()
		return unprepared(reason, err), began
	}
	if broken != nil {
		return give(fileReason(broken), fmt.Errorf("the session's files cannot be made again: %w", broken))
	}
	if spec.Kind == wire.KindOperator {
		r.printed.Begin(log)
		began := start()
		return r.awaitVerdict(working, s, began), began
	}
	files, literals, err := prepareStep(spec, r.opened, r.files.join("tmp", spec.ID))
	if err != nil {
		return give(fileReason(err), fmt.Errorf("cannot prepare the step: %w", err))
	}
	r.printed.Begin(log)
	if err := r.ensureSourceDir(spec.Phase); err != nil {
		return give(wire.ExitCode, err)
	}
	if err := r.ensureShell(working, spec.Phase); err != nil {
		return give(shellReason(err), err)
	}
	began = start()
	return r.runDriver(working, spec, shell.Driver{
		SourceDir: r.opened.sourceDir,
		Cwd:       spec.Cwd,
		Literals:  literals,
		Exports:   spec.Exports,
		Files:     files,
	}, began), began
}

// runDriver has the shell run a step, and stops it where its time is over. A shell that an earlier step has taken the
// input away from ends before it has run anything: then another shell runs the step.
func (r *runner) runDriver(working context.Context, spec *wire.Step, driver shell.Driver, began time.Time) outcome {
	ctx, cancel := r.limited(working, spec, began)
	defer cancel()
	for range 2 {
		if err := r.ensureShell(working, spec.Phase); err != nil {
			return failed(shellReason(err), err)
		}
		end, err := r.shell.Run(ctx, driver)
		if end.Dump != nil {
			r.exports.set(end.Dump)
		}
		switch {
		case err != nil && errors.Is(err, context.Cause(ctx)):
			return r.stop(stopped(err))
		case err != nil:
			return unprepared(fileReason(err), err)
		case end.Ran:
			if spec.Kind == wire.KindStep && len(driver.Files) > 0 && filepath.Base(driver.Files[0]) == "init.sh" {
				r.inits = append(r.inits, driver.Files[0])
			}
			return exited(end.Exit, end.At)
		}
	}
	return failed(wire.Internal, errors.New("the shell ends before it runs anything"))
}

// stop stops every process of the steps before a step ends as given.
func (r *runner) stop(end outcome) outcome {
	grace := r.opened.grace()
	if end.reason == wire.BoxTerminated {
		grace = min(grace, terminatedGrace)
	}
	r.stopAll(grace)
	r.hangUp()
	end.at = time.Now()
	return end
}

// awaitVerdict waits until the operator has done its step. No process of the box belongs to it.
func (r *runner) awaitVerdict(working context.Context, s *step, began time.Time) outcome {
	ctx, cancel := r.limited(working, s.spec, began)
	defer cancel()
	select {
	case got := <-s.verdict:
		return judged(got)
	case <-ctx.Done():
	}
	select {
	case got := <-s.verdict: // it was accepted before the time was over, and we look only now
		return judged(got)
	default:
		return stopped(context.Cause(ctx))
	}
}

// judged is the outcome, now, of a step that the operator has ended.
func judged(by wire.Verdict) outcome {
	end := exited(by.Exit, time.Now())
	if by.Message != "" {
		end.message = by.Message
	}
	return end
}

// ensureSourceDir sees to it that the directory that every step begins in is there. After-steps get one in any case:
// they report how the build ended, be it that a step has removed everything.
func (r *runner) ensureSourceDir(phase wire.Phase) error {
	dir := r.opened.sourceDir
	if !missingDir(dir) {
		return nil
	}
	err := fmt.Errorf("there is no directory %s, where steps begin: correct source-dir in wercker.yml, or the step that removed it", dir)
	if phase == wire.PhaseAfter && os.MkdirAll(dir, 0o755) == nil {
		r.printed.Note(fmt.Sprintf("sentinel: %s was missing, and is an empty directory now", dir))
		return nil
	}
	r.printed.Note("sentinel: " + err.Error())
	return err
}

func shellReason(err error) wire.Reason {
	switch {
	case errors.Is(err, errStopping):
		return wire.BoxTerminated
	case errors.Is(err, syscall.ENOEXEC):
		return wire.ArchitectureMismatch
	case errors.Is(err, shell.ErrNoShell), errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return wire.ShellMissing
	}
	return wire.Internal
}

// stepMessage is what the step wrote to its message file, else what we have to say; masked, bounded, valid UTF-8.
func (r *runner) stepMessage(spec *wire.Step, end outcome) string {
	text := end.message
	found, err := safefile.Read(filepath.Join(r.opened.reportDir, spec.ID, "message.txt"), 2*wire.MessageMax)
	if err == nil {
		if written := strings.TrimSpace(strings.ToValidUTF8(string(found), "\uFFFD")); written != "" {
			text = written
			if end.exit == -1 {
				text = end.message + ": " + written
			}
		}
	}
	return r.secrets.short(text)
}
