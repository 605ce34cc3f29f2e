package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sentinel.wercker.com/boxkit/internal/shell"
	"sentinel.wercker.com/boxkit/internal/steplog"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// bench is a runner whose shells, processes, output, uploads and counters are fakes. Time is synctest's.
type bench struct {
	*runner
	t       *testing.T
	tape    *tape
	opens   chan *opened
	term    chan struct{}
	shells  *fakeShells
	output  *fakeOutput
	uploads *fakeUploads
	usage   *fakeUsage
	stops   []time.Duration // graces that StopAll was called with
	root    string
}

// fakeShells start shells that do what `run` says.
type fakeShells struct {
	t     *testing.T
	specs []shell.Spec
	run   func(ctx context.Context, d shell.Driver) (shell.End, error)
	fails []error       // of the next starts
	trap  time.Duration // that shells take to end
}

type fakeShell struct {
	shells *fakeShells
	dead   bool
}

func (f *fakeShells) Start(_ context.Context, spec shell.Spec) (process, error) {
	f.specs = append(f.specs, spec)
	if len(f.fails) > 0 {
		err := f.fails[0]
		f.fails = f.fails[1:]
		if err != nil {
			return nil, err
		}
	}
	return &fakeShell{shells: f}, nil
}

func (s *fakeShell) Alive() bool { return !s.dead }

func (s *fakeShell) HangUp(ctx context.Context) {
	s.dead = true
	select {
	case <-time.After(s.shells.trap):
	case <-ctx.Done():
	}
}

func (s *fakeShell) Run(ctx context.Context, d shell.Driver) (shell.End, error) {
	if s.dead {
		s.shells.t.Error("a dead shell is to run a driver")
	}
	end, err := s.shells.run(ctx, d)
	if !end.Ran || end.Exit == shellGone {
		s.dead = true
	}
	return end, err
}

// shellGone is an exit code of fakes that ends the shell too.
const shellGone = 77

// exits is a driver that ends at once.
func exits(code int) (shell.End, error) {
	return shell.End{Ran: true, Exit: code, At: time.Now(), Dump: []byte("export LAST=" + fmt.Sprint(code))}, nil
}

// hangs is a driver that ends when it is stopped.
func hangs(ctx context.Context) (shell.End, error) {
	<-ctx.Done()
	return shell.End{Ran: true}, context.Cause(ctx)
}

type fakeOutput struct {
	mu    sync.Mutex
	last  time.Time
	notes []string
}

func (o *fakeOutput) Begin(*steplog.Log)                    {}
func (o *fakeOutput) Finish(log *steplog.Log) wire.LogFacts { return log.Finish() }
func (o *fakeOutput) Note(text string)                      { o.notes = append(o.notes, text) }

func (o *fakeOutput) print() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = time.Now()
}

func (o *fakeOutput) Silent(since time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last.After(since) {
		since = o.last
	}
	return time.Since(since)
}

type fakeUploads struct {
	added   []string
	pending []string
	until   time.Time // when pending is done
}

func (u *fakeUploads) Add(_ context.Context, what string, _ *os.File, _ wire.LogFacts) {
	u.added = append(u.added, what)
}
func (u *fakeUploads) Wait() {}
func (u *fakeUploads) Pending() []string {
	if time.Now().Before(u.until) {
		return u.pending
	}
	return nil
}

type fakeUsage struct{ kills int64 }

func (u *fakeUsage) CPUSeconds() float64 { return 0 }
func (u *fakeUsage) PeakMemory() int64   { return 0 }
func (u *fakeUsage) OOMKills() int64     { return u.kills }

// newBench is a runner in a directory of its own. It is to be called within synctest.Test.
func newBench(t *testing.T) *bench {
	t.Helper()
	root := t.TempDir()
	b := &bench{
		t: t, tape: &tape{}, root: root, opens: make(chan *opened, 1), term: make(chan struct{}),
		output: &fakeOutput{}, uploads: &fakeUploads{}, usage: &fakeUsage{},
	}
	b.shells = &fakeShells{t: t, run: func(context.Context, shell.Driver) (shell.End, error) { return exits(0) }}
	files := &directory{path: root, fifo: func(string) error { return nil }, listen: func() error { return nil }}
	if err := files.make(); err != nil {
		t.Fatal(err)
	}
	secrets := &secrets{}
	header := func(string, ...any) {}
	b.runner = &runner{
		terminated: b.term,
		parts: parts{
			journal: b.tape, queue: newQueue(b.tape), opens: b.opens, files: files, secrets: secrets, exports: &exports{},
			logs: &logs{byOrdinal: map[int]*steplog.Log{}}, collector: newCollector(b.tape, files, secrets.short, header),
			uploads: b.uploads, shells: b.shells, printed: b.output, usage: b.usage, header: header,
			stopAll: func(grace time.Duration) { b.stops = append(b.stops, grace) },
		},
	}
	return b
}

// open opens the session with a source directory that is there.
func (b *bench) open(change ...func(o *opened)) {
	b.t.Helper()
	o := &opened{
		at: time.Now(), build: "b", attempt: 1, env: []string{"A=1"}, shell: "/bin/bash",
		sourceDir: filepath.Join(b.root, "source"), pipelineDir: filepath.Join(b.root, "pipeline"), reportDir: filepath.Join(b.root, "report"),
		limits: wire.Limits{Log: 1 << 20, Grace: 10, Close: 60},
	}
	for _, each := range change {
		each(o)
	}
	if err := os.MkdirAll(o.sourceDir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	b.opens <- o
}

func (b *bench) start(specs ...*wire.Step) {
	b.t.Helper()
	if err := b.queue.add(&wire.Start{Steps: specs}); err != nil {
		b.t.Fatal(err)
	}
}

// finishes runs the session until it has ended, and returns the exit code.
func (b *bench) finishes() int {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	code := b.run(ctx, stop)
	if ctx.Err() == nil {
		b.t.Error("what requests began was not stopped")
	}
	return code
}

// ends are the steps' ends in their order: ordinal, reason, exit code and message.
func (b *bench) ends() (all []string) {
	for _, record := range b.tape.records {
		switch r := record.(type) {
		case wire.FinishedRecord:
			all = append(all, strings.TrimSpace(fmt.Sprintf("%d %s %d %s", r.Ordinal, r.Reason, r.Exit, r.Message)))
		case wire.SkippedRecord:
			all = append(all, fmt.Sprintf("%d skipped: %s: %s", r.Ordinal, r.Reason, r.Message))
		}
	}
	return all
}

func (b *bench) wantEnds(want ...string) {
	b.t.Helper()
	if got := b.ends(); !slices.Equal(got, want) {
		b.t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// closed is the last record.
func (b *bench) closed() wire.ClosedRecord {
	b.t.Helper()
	last, ok := b.tape.records[len(b.tape.records)-1].(wire.ClosedRecord)
	if !ok {
		b.t.Fatalf("the last record is %+v", b.tape.records[len(b.tape.records)-1])
	}
	return last
}

func TestStepsRunInOrderAndAFailureSkipsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ran := 0
		b.shells.run = func(context.Context, shell.Driver) (shell.End, error) {
			ran++
			return exits([]int{0, 3, 0}[ran-1])
		}
		b.open()
		b.start(mainStep(1), mainStep(2), mainStep(3), afterStep(4))
		b.queue.close()
		if code := b.finishes(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		b.wantEnds("1 Passed 0", "2 ExitCode 3 exited with code 3", "3 skipped: Skipped: step 2 failed", "4 Passed 0")
		if got := b.closed(); got.Reason != wire.Closed || len(got.Pending) != 0 {
			t.Errorf("%+v", got)
		}
		if len(b.shells.specs) != 2 {
			t.Fatalf("%d shells", len(b.shells.specs))
		}
		main, after := b.shells.specs[0], b.shells.specs[1]
		if !slices.Equal(main.Env, []string{"A=1"}) || main.Dump != nil {
			t.Errorf("%+v", main)
		}
		want := []string{"A=1", "WERCKER_RESULT=failed", "WERCKER_FAILED_STEP_DISPLAY_NAME=step 2", "WERCKER_FAILED_STEP_MESSAGE=exited with code 3"}
		if !slices.Equal(after.Env, want) || after.Dump != nil || after.Inits != nil {
			t.Errorf("%+v", after)
		}
		if !slices.Equal(b.uploads.added, []string{"log/1", "log/2", "log/4"}) {
			t.Errorf("%q", b.uploads.added)
		}
	})
}

func TestWhatStopsARunningStep(t *testing.T) {
	for name, test := range map[string]struct {
		limit  func(s *wire.Step)
		open   func(o *opened)
		later  func(b *bench) // after ten seconds
		after  time.Duration
		reason string
		grace  time.Duration
	}{
		"command timeout": {limit: func(s *wire.Step) { s.Timeouts.Command = 90 }, after: 90 * time.Second,
			reason: "1 CommandTimeout -1 it ran longer than 1m30s", grace: 10 * time.Second},
		"silence": {limit: func(s *wire.Step) { s.Timeouts.NoResponse = 30 }, after: 30 * time.Second,
			reason: "1 NoResponseTimeout -1 it printed nothing for 30s", grace: 10 * time.Second},
		"silence after something": {limit: func(s *wire.Step) { s.Timeouts.NoResponse = 30 },
			later: func(b *bench) { b.output.print() }, after: 40 * time.Second,
			reason: "1 NoResponseTimeout -1 it printed nothing for 30s", grace: 10 * time.Second},
		"build timeout": {open: func(o *opened) { o.limits.Build = 3600 }, after: time.Hour,
			reason: "1 BuildTimeout -1 the build ran longer than 1h0m0s", grace: 10 * time.Second},
		"cancel": {later: func(b *bench) { b.queue.stop(&wire.Cancel{Reason: "by hand"}) }, after: 10 * time.Second,
			reason: "1 Cancelled -1 by hand", grace: 10 * time.Second},
		"SIGTERM": {later: func(b *bench) { close(b.term) }, after: 10 * time.Second,
			reason: "1 BoxTerminated -1 the box got SIGTERM", grace: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.shells.run = func(ctx context.Context, _ shell.Driver) (shell.End, error) { return hangs(ctx) }
				spec := mainStep(1)
				if test.limit != nil {
					test.limit(spec)
				}
				if test.open != nil {
					b.open(test.open)
				} else {
					b.open()
				}
				b.start(spec)
				b.queue.close()
				if test.later != nil {
					time.AfterFunc(10*time.Second, func() { test.later(b) })
				}
				began := time.Now()
				b.finishes()
				b.wantEnds(test.reason)
				for _, record := range b.tape.records {
					if r, ok := record.(wire.FinishedRecord); ok && r.Usage.Seconds != test.after.Seconds() {
						t.Errorf("it took %v s, want %s", r.Usage.Seconds, test.after)
					}
				}
				if b.stops[0] != test.grace {
					t.Errorf("grace %s, want %s", b.stops[0], test.grace)
				}
				if time.Since(began) < test.after {
					t.Errorf("it ended after %s", time.Since(began))
				}
			})
		})
	}
}

func TestAfterACancelAfterStepsRunOrNot(t *testing.T) {
	for after, want := range map[bool]string{true: "3 Passed 0", false: "3 skipped: Cancelled: by hand"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.shells.run = func(ctx context.Context, d shell.Driver) (shell.End, error) {
				if strings.Contains(d.Files[0], "step-1") {
					return hangs(ctx)
				}
				time.Sleep(time.Minute) // an after-step is not cut short
				if ctx.Err() != nil {
					return shell.End{}, context.Cause(ctx)
				}
				return exits(0)
			}
			b.open()
			b.start(mainStep(1), mainStep(2), afterStep(3))
			b.queue.close()
			time.AfterFunc(time.Second, func() { b.queue.stop(&wire.Cancel{Reason: "by hand", After: after}) })
			b.finishes()
			b.wantEnds("1 Cancelled -1 by hand", "2 skipped: Cancelled: by hand", want)
		})
	}
}

func TestTheBuildsTimeIsOverForMainStepsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.shells.run = func(context.Context, shell.Driver) (shell.End, error) {
			time.Sleep(11 * time.Minute)
			return exits(0)
		}
		b.open(func(o *opened) { o.limits.Build = 600 })
		b.start(mainStep(1), mainStep(2), afterStep(3))
		b.queue.close()
		b.finishes()
		b.wantEnds("1 Passed 0", "2 skipped: BuildTimeout: the build's time is over", "3 Passed 0")
	})
}

func TestSIGTERMLeavesNoStepUndecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.shells.run = func(ctx context.Context, _ shell.Driver) (shell.End, error) { return hangs(ctx) }
		b.open()
		b.start(mainStep(1), mainStep(2), afterStep(3))
		time.AfterFunc(time.Second, func() { close(b.term) })
		if code := b.finishes(); code != 143 {
			t.Errorf("exit code %d", code)
		}
		b.wantEnds("1 BoxTerminated -1 the box got SIGTERM", "2 skipped: Skipped: the box got SIGTERM", "3 skipped: Skipped: the box got SIGTERM")
		if got := b.closed(); got.Reason != wire.Terminated {
			t.Errorf("%+v", got)
		}
	})
}

func TestASessionThatIsNeverOpenedEnds(t *testing.T) {
	for ending, end := range map[wire.Ending]func(b *bench){
		wire.Closed:     func(b *bench) { b.queue.close() },
		wire.Terminated: func(b *bench) { close(b.term) },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			time.AfterFunc(time.Hour, func() { end(b) })
			b.finishes()
			if got := b.closed(); got.Reason != ending || len(b.shells.specs) != 0 {
				t.Errorf("%+v, %d shells", got, len(b.shells.specs))
			}
		})
	}
}

func TestStepsThatWereQueuedBeforeCloseRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		time.AfterFunc(time.Second, func() {
			b.open()
			b.start(mainStep(1))
			b.queue.close()
		})
		b.finishes()
		b.wantEnds("1 Passed 0")
	})
}

func TestAShellThatIsGoneIsReplacedWithWhatItExported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ran := 0
		b.shells.run = func(context.Context, shell.Driver) (shell.End, error) {
			if ran++; ran == 1 {
				return exits(0)
			}
			return exits([]int{shellGone, 0}[ran-2])
		}
		dir := filepath.Join(b.root, "with-init")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"init.sh", "run.sh"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		first := mainStep(1)
		first.Kind, first.Dir = wire.KindStep, dir
		b.open()
		b.start(first, mainStep(2), afterStep(3))
		b.queue.close()
		b.finishes()
		b.wantEnds("1 Passed 0", "2 ExitCode 77 exited with code 77", "3 Passed 0")
		if after := b.shells.specs[1]; after.Inits != nil || after.Dump != nil {
			t.Errorf("after-steps begin with the literal environment, not %+v", after)
		}

		b = newBench(t)
		ran = 0
		b.open()
		b.start(first, mainStep(2))
		b.shells.run = func(context.Context, shell.Driver) (shell.End, error) {
			if ran++; ran == 1 {
				end, err := exits(0)
				b.shell.(*fakeShell).dead = true // `exec true` passes
				return end, err
			}
			return exits(0)
		}
		b.queue.close()
		b.finishes()
		b.wantEnds("1 Passed 0", "2 Passed 0")
		again := b.shells.specs[1]
		want := []string{filepath.Join(b.root, "pipeline", "step-1", "init.sh")}
		if !slices.Equal(again.Inits, want) || string(again.Dump) != "export LAST=0" {
			t.Errorf("%+v", again)
		}
	})
}

func TestAStepThatDidNotBeginIsRunByAnotherShell(t *testing.T) {
	for name, test := range map[string]struct {
		vain int
		want string
	}{
		"once":  {1, "1 Passed 0"},
		"twice": {2, "1 Internal -1 the shell ends before it runs anything"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				left := test.vain
				b.shells.run = func(context.Context, shell.Driver) (shell.End, error) {
					if left--; left >= 0 {
						return shell.End{At: time.Now()}, nil
					}
					return exits(0)
				}
				b.open()
				b.start(mainStep(1))
				b.queue.close()
				b.finishes()
				b.wantEnds(test.want)
				if got := b.tape.kinds(); !slices.Equal(got, []string{"queued", "started", "finished", "closed"}) {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

func TestWhoseFaultAShellThatDoesNotStartIs(t *testing.T) {
	for err, want := range map[error]string{
		shell.ErrNoShell:                      "1 ShellMissing -1 the box has no shell",
		syscall.ENOEXEC:                       "1 ArchitectureMismatch -1 exec format error",
		fs.ErrPermission:                      "1 ShellMissing -1 permission denied",
		errors.New("bash did not start"):      "1 Internal -1 bash did not start",
		fmt.Errorf("vain: %w", fs.ErrInvalid): "1 Internal -1 vain: invalid argument",
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.shells.fails = []error{err, err} // when it warms up, and for the step
			b.open()
			b.start(mainStep(1), mainStep(2))
			b.queue.close()
			b.finishes()
			b.wantEnds(want, "2 skipped: Skipped: step 1 failed")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.open(func(o *opened) { o.shell, o.shellError = "", shell.ErrNoShell })
		b.start(mainStep(1))
		b.queue.close()
		b.finishes()
		b.wantEnds("1 ShellMissing -1 the box has no shell")
		if len(b.shells.specs) != 0 {
			t.Error("a shell that is missing is started")
		}
	})
}

func operatorStep(ordinal int) *wire.Step {
	spec := mainStep(ordinal)
	spec.Kind = wire.KindOperator
	return spec
}

func TestACancelDoesNotWaitForEXITTraps(t *testing.T) {
	for name, stop := range map[string]func(b *bench){
		"cancel":  func(b *bench) { b.queue.stop(&wire.Cancel{Reason: "by hand"}) },
		"SIGTERM": func(b *bench) { close(b.term) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.shells.trap = time.Hour
				began, stopped := time.Now(), time.Duration(-1)
				b.stopAll = func(time.Duration) {
					if stopped < 0 {
						stopped = time.Since(began)
					}
				}
				b.open()
				b.start(mainStep(1), afterStep(2))
				b.queue.close()
				time.AfterFunc(time.Second, func() { stop(b) })
				b.finishes()
				if stopped != time.Second {
					t.Errorf("the processes of the steps were stopped after %s", stopped)
				}
			})
		})
	}
}

func TestAnEXITTrapHasSomeTimeBeforeTheAfterSteps(t *testing.T) {
	for name, cancelled := range map[string]bool{"passed": false, "cancelled before": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.shells.trap = time.Hour
				began, stopped := time.Now(), time.Duration(-1)
				b.stopAll = func(time.Duration) {
					if stopped < 0 {
						stopped = time.Since(began)
					}
				}
				b.open()
				b.start(mainStep(1), afterStep(2))
				b.queue.close()
				if cancelled {
					b.queue.stop(&wire.Cancel{Reason: "by hand", After: true})
				}
				b.finishes()
				if stopped != trapWithin {
					t.Errorf("the processes of the steps were stopped after %s", stopped)
				}
			})
		})
	}
}

func TestAnOperatorsStepWaitsForTheVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		later func(b *bench)
		want  string
	}{
		"pass":    {func(b *bench) { _ = b.queue.judge(&wire.Verdict{Ordinal: 1}) }, "1 Passed 0"},
		"fail":    {func(b *bench) { _ = b.queue.judge(&wire.Verdict{Ordinal: 1, Exit: 2, Message: "not pushed"}) }, "1 ExitCode 2 not pushed"},
		"cancel":  {func(b *bench) { b.queue.stop(&wire.Cancel{Reason: "by hand"}) }, "1 Cancelled -1 by hand"},
		"SIGTERM": {func(b *bench) { close(b.term) }, "1 BoxTerminated -1 the box got SIGTERM"},
		"nothing": {func(*bench) {}, "1 CommandTimeout -1 it ran longer than 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				spec := operatorStep(1)
				spec.Timeouts.Command, spec.Timeouts.NoResponse = 60, 1 // it prints nothing, and may
				b.open()
				b.start(spec)
				b.queue.close()
				time.AfterFunc(10*time.Second, func() { test.later(b) })
				b.finishes()
				b.wantEnds(test.want)
				if len(b.stops) != 1 { // that of the end
					t.Errorf("processes were stopped %d times", len(b.stops))
				}
			})
		})
	}
}

func TestAVerdictThatCameInTimeCountsThoughTheStepsTimeIsOverToo(t *testing.T) {
	b := newBench(t)
	b.runner.opened = &opened{at: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // which of two things is looked at first is a matter of chance
		s := &step{spec: operatorStep(1), verdict: make(chan wire.Verdict, 1)}
		s.verdict <- wire.Verdict{Ordinal: 1}
		if got := b.awaitVerdict(ctx, s, time.Now()); got.reason != wire.Passed {
			t.Fatalf("%+v", got)
		}
	}
}

func TestAStepThatLostAProcessToMemoryFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.shells.run = func(context.Context, shell.Driver) (shell.End, error) {
			b.usage.kills++
			return exits(0)
		}
		b.open()
		b.start(mainStep(1))
		b.queue.close()
		b.finishes()
		b.wantEnds("1 OutOfMemory 0 the kernel killed a process of this step: it needed more memory than the box may have")
	})
}

func TestWhereTheSourceDirectoryIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		source := filepath.Join(b.root, "source")
		b.shells.run = func(context.Context, shell.Driver) (shell.End, error) {
			if err := os.RemoveAll(source); err != nil {
				t.Error(err)
			}
			return exits(0)
		}
		b.open()
		b.start(mainStep(1), mainStep(2), afterStep(3))
		b.queue.close()
		b.finishes()
		text := "there is no directory " + source + ", where steps begin: correct source-dir in wercker.yml, or the step that removed it"
		b.wantEnds("1 Passed 0", "2 ExitCode 1 "+text, "3 Passed 0")
		want := []string{"sentinel: " + text, "sentinel: " + source + " was missing, and is an empty directory now"}
		if !slices.Equal(b.output.notes, want) {
			t.Errorf("%q", b.output.notes)
		}
	})
}

func TestAStepThatCannotBePrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		spec := mainStep(1)
		spec.Kind, spec.Dir = wire.KindStep, filepath.Join(b.root, "missing")
		b.open()
		b.start(spec)
		b.queue.close()
		b.finishes()
		b.wantEnds("1 Internal -1 cannot prepare the step: stat " + spec.Dir + ": no such file or directory")
		if got := b.tape.kinds(); !slices.Equal(got, []string{"queued", "started", "finished", "closed"}) {
			t.Errorf("%q", got)
		}
	})
}

func TestAStepsMessageIsWhatItWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.secrets.add([][]byte{[]byte("s3cret-77")})
		b.shells.run = func(_ context.Context, d shell.Driver) (shell.End, error) {
			file := d.Literals[slices.IndexFunc(d.Literals, func(pair [2]string) bool { return pair[0] == "WERCKER_REPORT_MESSAGE_FILE" })][1]
			if err := os.WriteFile(file, []byte(" broken by s3cret-77\xff \n"), 0o644); err != nil {
				t.Error(err)
			}
			return exits(1)
		}
		b.open()
		b.start(mainStep(1))
		b.queue.close()
		b.finishes()
		b.wantEnds("1 ExitCode 1 broken by ****\uFFFD")
	})
}

func TestTheEndWaitsForLogsWithinItsLimit(t *testing.T) {
	for name, test := range map[string]struct {
		pending time.Duration // until the last log is stored
		term    time.Duration // when SIGTERM comes; 0: never
		want    time.Duration
		left    []string
	}{
		"stored in time":         {pending: 20 * time.Second, want: 20 * time.Second, left: []string{}},
		"never stored":           {pending: time.Hour, want: time.Minute, left: []string{"log/1"}},
		"SIGTERM while it waits": {pending: time.Hour, term: 10 * time.Second, want: 25 * time.Second, left: []string{"log/1"}},
		"SIGTERM too late":       {pending: time.Hour, term: 58 * time.Second, want: time.Minute, left: []string{"log/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				began := time.Now()
				b.uploads.pending, b.uploads.until = []string{"log/1"}, began.Add(test.pending)
				b.open()
				b.queue.close()
				if test.term > 0 {
					time.AfterFunc(test.term, func() { close(b.term) })
				}
				b.finishes()
				if took := time.Since(began).Round(time.Second); took != test.want {
					t.Errorf("it took %s, want %s", took, test.want)
				}
				if got := b.closed(); len(got.Pending) != len(test.left) || got.Reason != wire.Closed {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}
