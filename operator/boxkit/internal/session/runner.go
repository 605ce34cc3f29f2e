package session

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/services"
	"sentinel.wercker.com/boxkit/internal/shell"
	"sentinel.wercker.com/boxkit/internal/steplog"
	"sentinel.wercker.com/boxkit/internal/wire"
)

const (
	trapWithin        = 5 * time.Second  // for a shell's EXIT trap
	terminatedUploads = 15 * time.Second // for uploads once the kubelet wants the box to end
	pendingMax        = 1000             // names in the last record
	pendingEvery      = 10 * time.Millisecond
)

// errStopping is why everything ends after SIGTERM.
var errStopping = errors.New("the box got SIGTERM")

// runner is the one goroutine that runs steps. Nobody else touches its own fields; what it shares with the requests
// guards itself.
type runner struct {
	parts
	terminated <-chan struct{} // closed by SIGTERM

	opened *opened
	shell  process
	phase  wire.Phase // of the shell
	inits  []string   // init.sh of earlier steps
}

// parts are what a runner works with: in production those of New, in tests fakes.
type parts struct {
	journal   recorder
	queue     *queue
	opens     <-chan *opened // gives one
	files     *directory
	secrets   *secrets
	exports   *exports
	logs      *logs
	collector *collector
	uploads   uploads
	shells    shells
	stopAll   func(grace time.Duration) // every process of the steps: proc.StopAll
	printed   printed
	usage     usage
	header    func(format string, args ...any) // a line of our own in the container's log
}

type (
	// shells starts shells: shell.Host.
	shells interface {
		Start(ctx context.Context, spec shell.Spec) (process, error)
	}
	// process is a shell that runs: shell.Shell.
	process interface {
		Alive() bool
		Run(ctx context.Context, d shell.Driver) (shell.End, error)
		HangUp(ctx context.Context)
	}
	// printed is what the steps print: steplog.Tap.
	printed interface {
		Begin(log *steplog.Log)
		Finish(log *steplog.Log) wire.LogFacts
		Note(text string)
		Silent(since time.Time) time.Duration
	}
	// usage are the box's counters: proc.Cgroup.
	usage interface {
		CPUSeconds() float64
		PeakMemory() int64
		OOMKills() int64
	}
	// uploads are those of the logs: store.Uploads.
	uploads interface {
		Add(ctx context.Context, what string, file *os.File, facts wire.LogFacts)
		Wait()
		Pending() []string
	}
)

// run works until the session is closed or terminated, and returns the exit code of boxkit. stop ends ctx, and with it
// what requests have begun.
func (r *runner) run(ctx context.Context, stop context.CancelFunc) int {
	working, end := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-r.terminated:
			end(errStopping)
		case <-working.Done():
		}
	}()
	ending := r.work(ctx, working)
	end(nil)
	r.queue.end()
	r.collector.end()
	r.finish(ending, stop)
	if ending == wire.Terminated {
		return 128 + int(syscall.SIGTERM)
	}
	return 0
}

// work runs steps until there is an end. `working` ends with SIGTERM; ctx is that of uploads, which go on for a while.
func (r *runner) work(ctx, working context.Context) wire.Ending {
	if ending, opened := r.awaitOpen(working); !opened {
		return ending
	}
	r.warm(working)
	for {
		d := r.queue.next(r.opened.late())
		switch {
		case d.last:
			return wire.Closed
		case d.step == nil:
			select {
			case <-r.queue.changed:
			case <-working.Done():
				return wire.Terminated
			}
			continue
		case d.skip != "":
			r.endSkipped(d.step, d.skip, d.message)
			continue
		case d.after:
			r.betweenPhases(working)
		}
		r.runStep(ctx, working, d.step)
		if working.Err() != nil {
			return wire.Terminated
		}
	}
}

// awaitOpen returns once the session is open, or how it ended without that.
func (r *runner) awaitOpen(working context.Context) (ending wire.Ending, opened bool) {
	for {
		select {
		case r.opened = <-r.opens:
			return "", true
		case <-working.Done():
			return wire.Terminated, false
		case <-r.queue.changed:
		}
		select {
		case r.opened = <-r.opens: // before it was closed
			return "", true
		default:
		}
		if r.queue.isClosing() {
			return wire.Closed, false
		}
	}
}

func (r *runner) endSkipped(s *step, reason wire.Reason, message string) {
	r.queue.set(s, stateSkipped, reason, message)
	r.journal.Append(time.Now(), wire.SkippedRecord{
		Ordinal: s.spec.Ordinal, Reason: reason, Message: r.secrets.short(message),
	})
}

// warm starts the shell while the services come up, so that the first step begins at once.
func (r *runner) warm(working context.Context) {
	if r.opened.shellError == nil {
		_ = r.ensureShell(working, wire.PhaseMain) // its error is the first step's
	}
	if len(r.opened.services) == 0 {
		return
	}
	ctx, cancel := r.untilCancel(working)
	defer cancel()
	services.Await(ctx, r.opened.services, func(record wire.ServiceRecord) {
		r.journal.Append(time.Now(), record)
	})
	_ = services.AddHosts(services.HostsFile, r.opened.services) // the first step begins now; KeepHosts looks now and then
}

// untilCancel returns a context that ends with the parent, and when the session is cancelled.
func (r *runner) untilCancel(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		select {
		case <-r.queue.cancel:
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, cancel
}

// betweenPhases ends what the main steps have left. A cancel or SIGTERM that comes meanwhile does not wait for EXIT traps.
func (r *runner) betweenPhases(working context.Context) {
	if r.queue.cancellation() != nil { // the after-steps run in spite of it
		r.quiesce(working, r.opened.grace())
		return
	}
	ctx, cancel := r.untilCancel(working)
	defer cancel()
	r.quiesce(ctx, r.opened.grace())
}

// quiesce lets the shell end by itself, so that its EXIT traps run, until ctx ends, and stops whatever is left.
func (r *runner) quiesce(ctx context.Context, grace time.Duration) {
	if r.shell != nil {
		ctx, cancel := context.WithTimeout(ctx, min(grace, trapWithin))
		defer cancel()
		r.shell.HangUp(ctx)
	}
	r.stopAll(grace)
	r.shell = nil
}

// ensureShell makes r.shell one that lives, of the given phase, that has sourced what comes before a step.
func (r *runner) ensureShell(ctx context.Context, phase wire.Phase) error {
	if r.shell != nil && r.shell.Alive() && r.phase == phase {
		return nil
	}
	o := r.opened
	if o.shellError != nil {
		return o.shellError
	}
	env, dump, inits := o.env, r.exports.get(), r.inits
	if phase == wire.PhaseAfter {
		env, inits = literalEnv(env, r.queue.resultEnv()), nil
		if r.phase != wire.PhaseAfter {
			r.inits, dump = nil, nil
		}
	}
	r.hangUp()
	started, err := r.shells.Start(ctx, shell.Spec{
		Path: o.shell, Args: o.shellArgs, Entrypoint: o.entrypoint, Env: env, Dir: o.sourceDir, Inits: inits, Dump: dump,
	})
	if err != nil {
		return err
	}
	r.shell, r.phase = started, phase
	return nil
}

// hangUp lets go of the shell, without waiting for its end.
func (r *runner) hangUp() {
	if r.shell != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.shell.HangUp(ctx)
		r.shell = nil
	}
}

// finish ends the session: no process of the steps' lives on, uploads get their time, and the last record is written.
func (r *runner) finish(ending wire.Ending, stop context.CancelFunc) {
	limit, grace := 60*time.Second, 2*time.Second
	if r.opened != nil {
		limit, grace = r.opened.limits.Close.Duration(), min(grace, r.opened.grace())
	}
	if ending == wire.Terminated {
		limit = min(limit, terminatedUploads)
		r.skipRest()
	}
	r.quiesce(context.Background(), grace)
	caching := r.collector.settle()
	if ending == wire.Terminated {
		caching = 0
	}
	r.awaitUploads(limit, max(limit, caching), ending == wire.Terminated)
	pending := r.uploads.Pending()
	pending = pending[:min(len(pending), pendingMax)]
	stop()
	r.journal.Append(time.Now(), wire.ClosedRecord{Pending: pending, Reason: ending})
}

// awaitUploads waits until nothing is collected or uploaded any more, for `working` at most, and then until every log has
// a URL, for `limit` at most from the beginning. SIGTERM leaves less time; `terminated` means that it came before.
func (r *runner) awaitUploads(limit, working time.Duration, terminated bool) {
	done := make(chan struct{})
	go func() {
		r.collector.wait()
		r.uploads.Wait()
		close(done)
	}()
	deadline := time.Now().Add(limit)
	waiting := time.After(working)
	sigterm := r.terminated
	if terminated {
		sigterm = nil
	}
	hurry := func() {
		sigterm = nil
		if soon := time.Now().Add(terminatedUploads); soon.Before(deadline) {
			deadline = soon
		}
		waiting = time.After(time.Until(deadline))
	}
	for busy := true; busy; {
		select {
		case <-done:
			busy = false
		case <-waiting:
			busy = false
		case <-sigterm:
			hurry()
		}
	}
	// A log waits for its URL, and a refused one for a new URL, as long as there is time.
	for len(r.uploads.Pending()) > 0 && time.Now().Before(deadline) {
		select {
		case <-sigterm:
			hurry()
		case <-time.After(pendingEvery):
		}
	}
}

// skipRest leaves no queued step undecided when the box ends.
func (r *runner) skipRest() {
	for next := r.queue.rest(); next != nil; next = r.queue.rest() {
		r.endSkipped(next, wire.Skipped, errStopping.Error())
	}
}
