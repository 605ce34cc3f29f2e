package session

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"sentinel.wercker.com/boxkit/internal/wire"
)

// recorder is the journal.
type recorder interface {
	Append(at time.Time, record wire.Record)
}

// state is how far a step is. It only ever grows.
type state int

const (
	stateQueued state = iota
	stateRunning
	stateFinished
	stateSkipped
)

// step is one of the queue. Its state and what follows belong to the queue.
type step struct {
	spec    *wire.Step
	verdict chan wire.Verdict // of kind operator, capacity 1

	state   state
	reason  wire.Reason // of a finished or skipped one
	message string
}

// queue is what is to be run, how it went, and what was asked of all of it: cancel, close. Requests come from any
// goroutine; the runner alone takes steps out.
type queue struct {
	journal recorder
	changed chan struct{} // to the runner, capacity 1
	cancel  chan struct{} // closed by the first cancel

	mu        sync.Mutex
	steps     []*step
	byOrdinal map[int]*step
	result    *wire.Result
	cancelled *wire.Cancel
	mainOver  bool
	closing   bool
	ended     bool
}

func newQueue(journal recorder) *queue {
	return &queue{
		journal:   journal,
		changed:   make(chan struct{}, 1),
		cancel:    make(chan struct{}),
		byOrdinal: map[int]*step{},
	}
}

func (q *queue) poke() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// add queues the steps that were not queued before; all of them, or none where one is refused.
func (q *queue) add(m *wire.Start) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var fresh []*wire.Step
	seen := map[int]bool{}
	for _, spec := range m.Steps {
		if err := spec.Check(); err != nil {
			return wire.Refuse("InvalidRequest", "%v", err)
		}
		if q.byOrdinal[spec.Ordinal] != nil || seen[spec.Ordinal] {
			continue
		}
		seen[spec.Ordinal] = true
		switch {
		case q.closing || q.ended:
			return wire.Refuse("Closed", "step %q came after close", spec.ID)
		case spec.Phase == wire.PhaseMain && q.mainOver:
			return wire.Refuse("MainOver", "step %q of the main phase came after the after-steps began", spec.ID)
		}
		fresh = append(fresh, spec)
	}
	if m.Result != nil {
		q.result = m.Result
	}
	for _, spec := range fresh {
		each := &step{spec: spec, verdict: make(chan wire.Verdict, 1)}
		q.steps = append(q.steps, each)
		q.byOrdinal[spec.Ordinal] = each
		q.journal.Append(time.Now(), wire.QueuedRecord{Ordinal: spec.Ordinal, ID: spec.ID, Phase: spec.Phase})
	}
	q.poke()
	return nil
}

// stop is `cancel`. A second one changes nothing.
func (q *queue) stop(m *wire.Cancel) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.cancelled != nil || q.ended {
		return
	}
	q.cancelled = m
	q.journal.Append(time.Now(), wire.CancelledRecord{Reason: m.Reason, After: m.After})
	close(q.cancel)
	q.poke()
}

// close says that no more steps come.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closing = true
	q.poke()
}

// end says that no more steps run.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
}

func (q *queue) isClosing() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closing
}

func (q *queue) hasEnded() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended
}

// judge passes the operator's verdict on to its step. One that has ended already stays as it is.
func (q *queue) judge(m *wire.Verdict) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	each := q.byOrdinal[m.Ordinal]
	switch {
	case each == nil || each.spec.Kind != wire.KindOperator:
		return wire.Refuse("InvalidRequest", "step %d is not one of the operator's", m.Ordinal)
	case each.state == stateQueued:
		return wire.Refuse("NotRunning", "step %d has not started", m.Ordinal)
	case each.state == stateRunning:
		select {
		case each.verdict <- *m:
		default: // it has one
		}
	}
	return nil
}

// decision is what the runner does next.
type decision struct {
	step    *step       // nil: nothing is queued
	skip    wire.Reason // why it does not run, or empty
	message string
	last    bool // nothing is queued, and nothing will be
	after   bool // it is the first after-step: the main phase ends
}

// next decides about the first queued step, those of the main phase first. late means that the build's time is over.
func (q *queue) next(late bool) decision {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := q.first()
	if first == nil {
		return decision{last: q.closing}
	}
	d := decision{step: first}
	after := first.spec.Phase == wire.PhaseAfter
	switch failed := q.failed(first.spec.Phase); {
	case q.cancelled != nil && !(after && q.cancelled.After):
		d.skip, d.message = wire.Cancelled, q.cancelled.Reason
	case failed != nil && after:
		d.skip, d.message = wire.Skipped, "an earlier after-step failed"
	case failed != nil:
		d.skip, d.message = wire.Skipped, fmt.Sprintf("%s failed", failed.spec.DisplayName)
	case late && !after:
		d.skip, d.message = wire.BuildTimeout, "the build's time is over"
	case after && !q.mainOver:
		q.mainOver, d.after = true, true
	}
	return d
}

// first is the first queued step. q.mu is held, here and below.
func (q *queue) first() *step {
	for _, phase := range []wire.Phase{wire.PhaseMain, wire.PhaseAfter} {
		for _, each := range q.steps {
			if each.state == stateQueued && each.spec.Phase == phase {
				return each
			}
		}
	}
	return nil
}

// failed is the first step of a phase that ran and did not pass, or nil.
func (q *queue) failed(phase wire.Phase) *step {
	i := slices.IndexFunc(q.steps, func(each *step) bool {
		return each.spec.Phase == phase && each.state == stateFinished && each.reason != wire.Passed
	})
	if i < 0 {
		return nil
	}
	return q.steps[i]
}

// rest is the first queued step, or nil.
func (q *queue) rest() *step {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first()
}

// set moves a step on.
func (q *queue) set(s *step, to state, reason wire.Reason, message string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if to <= s.state {
		panic(fmt.Sprintf("boxkit: step %d cannot go from state %d to %d", s.spec.Ordinal, s.state, to))
	}
	s.state, s.reason, s.message = to, reason, message
}

// cancellation is the first cancel, or nil.
func (q *queue) cancellation() *wire.Cancel {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cancelled
}

// resultEnv are the variables that tell after-steps how the main phase ended.
func (q *queue) resultEnv() [][2]string {
	q.mu.Lock()
	defer q.mu.Unlock()
	result := q.result
	if result == nil {
		result = &wire.Result{Result: wire.ResultPassed}
		if failed := q.failed(wire.PhaseMain); failed != nil {
			result = &wire.Result{
				Result:                wire.ResultFailed,
				FailedStepDisplayName: failed.spec.DisplayName,
				FailedStepMessage:     failed.message,
			}
		} else if q.cancelled != nil {
			result = &wire.Result{Result: wire.ResultFailed, FailedStepMessage: q.cancelled.Reason}
		}
	}
	env := [][2]string{{"WERCKER_RESULT", result.Result}}
	if result.Result != wire.ResultPassed {
		env = append(env,
			[2]string{"WERCKER_FAILED_STEP_DISPLAY_NAME", result.FailedStepDisplayName},
			[2]string{"WERCKER_FAILED_STEP_MESSAGE", result.FailedStepMessage})
	}
	return env
}
