package steplog

import (
	"os"
	"time"

	"sentinel.wercker.com/boxkit/internal/mask"
	"sentinel.wercker.com/boxkit/internal/pipe"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// Tap is the pipe that all shells of a session print to. What comes out of it goes to the log of the step that runs, and
// to the console; between two steps it waits for the next one's log. Its methods are for any goroutine.
type Tap struct {
	source *pipe.Source
	out    *output
	end    *os.File
}

// NewTap makes the pipe and reads it from now on. wake is called when a log has grown.
func NewTap(c *Console, wake func()) (*Tap, error) {
	read, write, err := pipe.Output()
	if err != nil {
		return nil, err
	}
	t := &Tap{out: &output{console: c, wake: wake}, end: write}
	if t.source, err = pipe.New(read, t.out.take); err != nil {
		return nil, err
	}
	go t.source.Run()
	return t, nil
}

// WriteEnd is the end of the pipe that the shells get.
func (t *Tap) WriteEnd() *os.File { return t.end }

// Begin makes log the one that gets what is printed from now on, and what was printed since the last one's end.
func (t *Tap) Begin(log *Log) { t.source.Drain(func() { t.out.begin(log) }) }

// Finish completes log with what has been printed until now, and says what it holds.
func (t *Tap) Finish(log *Log) (facts wire.LogFacts) {
	t.source.Drain(func() {
		t.out.end()
		facts = log.Finish()
	})
	return facts
}

// Note writes lines that no process of the step printed, after what was printed until now: they begin a line, and do not
// count as a sign of life.
func (t *Tap) Note(text string) { t.source.Drain(func() { t.out.note([]byte(text)) }) }

// SetMasks changes what is masked from the next byte on.
func (t *Tap) SetMasks(set *mask.Set) { t.source.Hold(func() { t.out.mask.Set = set }) }

// Silent is how long nothing was printed, counted from since at the earliest. What was printed counts also if we were not
// scheduled since, and have not read it.
func (t *Tap) Silent(since time.Time) time.Duration {
	t.source.Drain(nil)
	return t.out.silent(since)
}
