package session

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/wire"
)

// tape is a journal that is kept in memory.
type tape struct {
	mu      sync.Mutex
	records []wire.Record
}

func (t *tape) Append(_ time.Time, record wire.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records = append(t.records, record)
}

// kinds are those of the records so far.
func (t *tape) kinds() (all []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, record := range t.records {
		all = append(all, record.Kind())
	}
	return all
}

func mainStep(ordinal int) *wire.Step {
	return &wire.Step{
		Phase: wire.PhaseMain, Ordinal: ordinal, ID: "step-" + string(rune('0'+ordinal)), Kind: wire.KindScript,
		DisplayName: "step " + string(rune('0'+ordinal)),
	}
}

func afterStep(ordinal int) *wire.Step {
	spec := mainStep(ordinal)
	spec.Phase = wire.PhaseAfter
	return spec
}

func queued(t *testing.T, specs ...*wire.Step) *queue {
	t.Helper()
	q := newQueue(&tape{})
	if err := q.add(&wire.Start{Steps: specs}); err != nil {
		t.Fatal(err)
	}
	return q
}

// end runs a step of the queue to its end.
func (q *queue) endAs(ordinal int, reason wire.Reason) {
	each := q.byOrdinal[ordinal]
	q.set(each, stateRunning, "", "")
	q.set(each, stateFinished, reason, "as it is")
}

func TestWhatIsNext(t *testing.T) {
	for name, test := range map[string]struct {
		before  func(q *queue)
		late    bool
		ordinal int // of the step that is decided about; 0: none
		skip    wire.Reason
		message string
		after   bool
		last    bool
	}{
		"the first":              {func(*queue) {}, false, 1, "", "", false, false},
		"the second":             {func(q *queue) { q.endAs(1, wire.Passed) }, false, 2, "", "", false, false},
		"after a failure":        {func(q *queue) { q.endAs(1, wire.ExitCode) }, false, 2, wire.Skipped, "step 1 failed", false, false},
		"out of time":            {func(*queue) {}, true, 1, wire.BuildTimeout, "the build's time is over", false, false},
		"failed and out of time": {func(q *queue) { q.endAs(1, wire.BuildTimeout) }, true, 2, wire.Skipped, "step 1 failed", false, false},
		"the first after-step": {func(q *queue) {
			q.endAs(1, wire.Passed)
			q.endAs(2, wire.ExitCode)
		}, true, 3, "", "", true, false},
		"the second after-step": {func(q *queue) {
			q.endAs(1, wire.Passed)
			q.endAs(2, wire.Passed)
			q.next(false)
			q.endAs(3, wire.Passed)
		}, false, 4, "", "", false, false},
		"after an after-step failed": {func(q *queue) {
			q.endAs(1, wire.Passed)
			q.endAs(2, wire.Passed)
			q.next(false)
			q.endAs(3, wire.ExitCode)
		}, false, 4, wire.Skipped, "an earlier after-step failed", false, false},
		"cancelled": {func(q *queue) { q.stop(&wire.Cancel{Reason: "no more", After: true}) }, false, 1, wire.Cancelled, "no more", false, false},
		"cancelled, after-step that runs all the same": {func(q *queue) {
			q.endAs(1, wire.Cancelled)
			q.set(q.byOrdinal[2], stateSkipped, wire.Cancelled, "")
			q.stop(&wire.Cancel{After: true})
		}, false, 3, "", "", true, false},
		"cancelled, after-step too": {func(q *queue) {
			q.endAs(1, wire.Cancelled)
			q.set(q.byOrdinal[2], stateSkipped, wire.Cancelled, "")
			q.stop(&wire.Cancel{Reason: "no more"})
		}, false, 3, wire.Cancelled, "no more", false, false},
		"nothing yet": {func(q *queue) {
			for ordinal := range 4 {
				q.endAs(ordinal+1, wire.Passed)
			}
		}, false, 0, "", "", false, false},
		"nothing any more": {func(q *queue) {
			for ordinal := range 4 {
				q.endAs(ordinal+1, wire.Passed)
			}
			q.close()
		}, false, 0, "", "", false, true},
		"closed with steps left": {func(q *queue) { q.close() }, false, 1, "", "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			q := queued(t, mainStep(1), afterStep(3), mainStep(2), afterStep(4))
			test.before(q)
			got := q.next(test.late)
			ordinal := 0
			if got.step != nil {
				ordinal = got.step.spec.Ordinal
			}
			if ordinal != test.ordinal || got.skip != test.skip || got.message != test.message ||
				got.after != test.after || got.last != test.last {
				t.Errorf("step %d, %+v", ordinal, got)
			}
		})
	}
}

func TestStepsAreQueuedOnce(t *testing.T) {
	q := queued(t, mainStep(1), mainStep(1))
	if err := q.add(&wire.Start{Steps: []*wire.Step{mainStep(1), mainStep(2)}}); err != nil {
		t.Fatal(err)
	}
	want := []wire.Record{
		wire.QueuedRecord{Ordinal: 1, ID: "step-1", Phase: wire.PhaseMain},
		wire.QueuedRecord{Ordinal: 2, ID: "step-2", Phase: wire.PhaseMain},
	}
	if got := q.journal.(*tape).records; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	q.close()
	q.close()
	if err := q.add(&wire.Start{Steps: []*wire.Step{mainStep(1)}}); err != nil {
		t.Errorf("a step that is queued: %v", err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		before func(q *queue)
		do     func(q *queue) error
		code   string
	}{
		"a step after close": {func(q *queue) { q.close() },
			func(q *queue) error { return q.add(&wire.Start{Steps: []*wire.Step{mainStep(2)}}) }, "Closed"},
		"a step after the end": {func(q *queue) { q.end() },
			func(q *queue) error { return q.add(&wire.Start{Steps: []*wire.Step{mainStep(2)}}) }, "Closed"},
		"a main step after the first after-step": {func(q *queue) {
			q.endAs(1, wire.Passed)
			q.next(false)
		}, func(q *queue) error { return q.add(&wire.Start{Steps: []*wire.Step{mainStep(2)}}) }, "MainOver"},
		"no ordinal": {func(*queue) {},
			func(q *queue) error { return q.add(&wire.Start{Steps: []*wire.Step{{ID: "x"}}}) }, "InvalidRequest"},
		"a verdict on a script": {func(*queue) {},
			func(q *queue) error { return q.judge(&wire.Verdict{Ordinal: 1}) }, "InvalidRequest"},
		"a verdict on nothing": {func(*queue) {},
			func(q *queue) error { return q.judge(&wire.Verdict{Ordinal: 9}) }, "InvalidRequest"},
		"a verdict too early": {func(q *queue) { q.byOrdinal[1].spec.Kind = wire.KindOperator },
			func(q *queue) error { return q.judge(&wire.Verdict{Ordinal: 1}) }, "NotRunning"},
	} {
		t.Run(name, func(t *testing.T) {
			q := queued(t, mainStep(1), afterStep(3))
			test.before(q)
			before := len(q.steps)
			var refused *wire.Refusal
			if err := test.do(q); !errors.As(err, &refused) || refused.Code != test.code {
				t.Errorf("got %v, want %s", err, test.code)
			}
			if len(q.steps) != before {
				t.Error("it was queued all the same")
			}
		})
	}
}

func TestWhatAfterStepsAreGiven(t *testing.T) {
	for name, test := range map[string]struct {
		before func(q *queue)
		want   [][2]string
	}{
		"passed": {func(q *queue) { q.endAs(1, wire.Passed) }, [][2]string{{"WERCKER_RESULT", "passed"}}},
		"failed": {func(q *queue) { q.endAs(1, wire.ExitCode) }, [][2]string{{"WERCKER_RESULT", "failed"},
			{"WERCKER_FAILED_STEP_DISPLAY_NAME", "step 1"}, {"WERCKER_FAILED_STEP_MESSAGE", "as it is"}}},
		"cancelled": {func(q *queue) { q.stop(&wire.Cancel{Reason: "no more"}) }, [][2]string{{"WERCKER_RESULT", "failed"},
			{"WERCKER_FAILED_STEP_DISPLAY_NAME", ""}, {"WERCKER_FAILED_STEP_MESSAGE", "no more"}}},
		"the operator knows better": {func(q *queue) {
			q.endAs(1, wire.Passed)
			_ = q.add(&wire.Start{Result: &wire.Result{Result: wire.ResultFailed, FailedStepMessage: "not pushed"}})
		}, [][2]string{{"WERCKER_RESULT", "failed"}, {"WERCKER_FAILED_STEP_DISPLAY_NAME", ""},
			{"WERCKER_FAILED_STEP_MESSAGE", "not pushed"}}},
	} {
		t.Run(name, func(t *testing.T) {
			q := queued(t, mainStep(1))
			test.before(q)
			if got := q.resultEnv(); !slices.Equal(got, test.want) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestAStepNeverGoesBack(t *testing.T) {
	q := queued(t, mainStep(1))
	q.endAs(1, wire.Passed)
	defer func() {
		if recover() == nil {
			t.Error("a finished step runs again")
		}
	}()
	q.set(q.byOrdinal[1], stateRunning, "", "")
}

func TestTheSecondCancelChangesNothing(t *testing.T) {
	q := queued(t, mainStep(1))
	q.stop(&wire.Cancel{Reason: "first"})
	q.stop(&wire.Cancel{Reason: "second"})
	if got := q.cancellation(); got.Reason != "first" {
		t.Errorf("%+v", got)
	}
	if got := q.journal.(*tape).kinds(); !slices.Equal(got, []string{"queued", "cancelled"}) {
		t.Errorf("%q", got)
	}
}
