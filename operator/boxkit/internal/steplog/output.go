package steplog

import (
	"bytes"
	"sync/atomic"
	"time"

	"sentinel.wercker.com/boxkit/internal/mask"
)

const pendingRoom = 64 << 10

// output is where the shells' bytes go: through the masks into the log of the step that runs, and to the console.
// All methods but silent are called under the lock of the source that feeds it.
type output struct {
	mask    mask.Stream
	log     *Log
	pending []byte // printed by background processes between two steps: the next step's
	console *Console
	wake    func()
	masked  []byte
	inLine  bool         // the last byte was no newline
	last    atomic.Int64 // when the last byte came, Unix nanoseconds
}

func (o *output) take(data []byte) {
	o.last.Store(time.Now().UnixNano())
	o.write(data)
}

// note writes lines that no process of the step printed: they begin a line, and do not count as a sign of life.
func (o *output) note(text []byte) {
	if o.inLine {
		text = append([]byte{'\n'}, text...)
	}
	if !bytes.HasSuffix(text, []byte{'\n'}) {
		text = append(text, '\n')
	}
	o.write(text)
}

func (o *output) write(data []byte) {
	if len(data) > 0 {
		o.inLine = data[len(data)-1] != '\n'
	}
	if o.log == nil {
		n := min(len(data), pendingRoom-len(o.pending))
		o.pending = append(o.pending, data[:n]...)
		return
	}
	o.masked = o.mask.Feed(o.masked[:0], data)
	o.put(o.masked)
}

func (o *output) put(masked []byte) {
	if len(masked) == 0 {
		return
	}
	o.log.write(masked)
	o.console.write(masked)
	o.wake()
}

// begin makes log the one that is written to.
func (o *output) begin(log *Log) {
	o.log = log
	o.inLine = false
	if len(o.pending) > 0 {
		pending := o.pending
		o.pending = nil
		o.write(pending)
	}
}

// end decides what the masks held back and takes the log away.
func (o *output) end() {
	if o.log != nil {
		o.put(o.mask.Flush(nil))
		o.log = nil
		o.inLine = false // the next step has a log of its own
	}
}

// silent is how long nothing was printed, counted from since at the earliest. For any goroutine.
func (o *output) silent(since time.Time) time.Duration {
	last := time.Unix(0, o.last.Load())
	if last.Before(since) {
		last = since
	}
	return time.Since(last)
}
