package session

import (
	"context"
	"fmt"
	"time"

	"sentinel.wercker.com/boxkit/internal/wire"
)

// interruption is why a step is stopped.
type interruption struct {
	reason wire.Reason
	text   string
}

func (i *interruption) Error() string { return i.text }

// limited returns a context that ends when a step that began at a certain time must end, with an *interruption as its
// cause. A parent that ends first has a cause of its own.
func (r *runner) limited(parent context.Context, spec *wire.Step, began time.Time) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	interrupt := func(reason wire.Reason, format string, args ...any) {
		cancel(&interruption{reason: reason, text: fmt.Sprintf(format, args...)})
	}
	limit, silence := spec.Timeouts.Command.Duration(), spec.Timeouts.NoResponse.Duration()
	if spec.Kind == wire.KindOperator {
		silence = 0 // it prints nothing
	}
	command, quiet := timer(limit, began), timer(silence, began)
	var build <-chan time.Time
	if left, limited := r.opened.left(); limited && spec.Phase == wire.PhaseMain {
		build = time.After(max(left, 0))
	}
	cancelled := r.queue.cancel
	go func() {
		for {
			select {
			case <-ctx.Done():
			case <-command:
				interrupt(wire.CommandTimeout, "it ran longer than %s", limit)
			case <-quiet:
				if left := silence - r.printed.Silent(began); left > 0 {
					quiet = time.After(left)
					continue
				}
				interrupt(wire.NoResponseTimeout, "it printed nothing for %s", silence)
			case <-build:
				interrupt(wire.BuildTimeout, "the build ran longer than %s", r.opened.limits.Build.Duration())
			case <-cancelled:
				asked := r.queue.cancellation()
				if spec.Phase == wire.PhaseAfter && asked.After {
					cancelled = nil // it runs in spite of the cancel
					continue
				}
				interrupt(wire.Cancelled, "%s", asked.Reason)
			}
			return
		}
	}()
	return ctx, func() { cancel(nil) }
}

// timer fires when a limit that began at a certain time is over; a limit of 0 is none.
func timer(limit time.Duration, began time.Time) <-chan time.Time {
	if limit <= 0 {
		return nil
	}
	return time.After(max(limit-time.Since(began), 0))
}
