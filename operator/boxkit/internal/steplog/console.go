package steplog

import (
	"fmt"
	"io"
	"sync"
)

// Console feeds the container's own log (`kubectl logs`) from a bounded buffer: a log reader that stalls loses bytes,
// with a marker, and never holds up a step. The truth is in the step logs.
type Console struct {
	mu      sync.Mutex
	waiting []byte
	dropped int64
	room    int
	ready   chan struct{}
	idle    chan struct{}
	busy    bool
	midline bool
}

func NewConsole(w io.Writer) *Console {
	c := &Console{room: 1 << 20, ready: make(chan struct{}, 1)}
	go c.run(w)
	return c
}

func (c *Console) write(data []byte) {
	if len(data) == 0 {
		return
	}
	c.mu.Lock()
	c.add(data)
	c.midline = data[len(data)-1] != '\n'
	c.mu.Unlock()
	c.signal()
}

// Line writes a line of our own, on a line of its own.
func (c *Console) Line(format string, args ...any) {
	c.mu.Lock()
	text := fmt.Appendf(nil, format+"\n", args...)
	if c.midline {
		text = append([]byte{'\n'}, text...)
	}
	c.add(text)
	c.midline = false
	c.mu.Unlock()
	c.signal()
}

func (c *Console) add(data []byte) {
	if len(c.waiting)+len(data) > c.room {
		c.dropped += int64(len(data))
		return
	}
	if c.dropped > 0 {
		c.waiting = fmt.Appendf(c.waiting, "\n--- sentinel: %d bytes dropped here: they were not read in time\n", c.dropped)
		c.dropped = 0
	}
	c.waiting = append(c.waiting, data...)
}

func (c *Console) signal() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

func (c *Console) run(w io.Writer) {
	var spare []byte
	for range c.ready {
		c.mu.Lock()
		data := c.waiting
		c.waiting = spare[:0]
		c.busy = true
		c.mu.Unlock()
		for len(data) > 0 {
			n, err := w.Write(data)
			if err != nil {
				break
			}
			data = data[n:]
		}
		spare = data[:0]
		c.mu.Lock()
		c.busy = false
		if c.idle != nil && len(c.waiting) == 0 {
			close(c.idle)
			c.idle = nil
		}
		c.mu.Unlock()
	}
}

// Drained is closed when everything written so far has been passed on.
func (c *Console) Drained() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := make(chan struct{})
	if len(c.waiting) == 0 && !c.busy {
		close(done)
		return done
	}
	if c.idle == nil {
		c.idle = done
	}
	return c.idle
}
