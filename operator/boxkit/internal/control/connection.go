package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"sentinel.wercker.com/boxkit/internal/steplog"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// connection is one connection.
type connection struct {
	server *Server
	conn   net.Conn
	ready  chan struct{} // capacity 1: something to write
	done   chan struct{}

	mu      sync.Mutex
	greeted bool
	replies [][]byte
	asked   int  // requests whose answers are not queued yet
	writing bool // something was taken from the queue, the journal or a log, and is not written yet
	ending  bool // the connection ends as soon as the queued replies are written
	last    bool // the session has ended: nothing follows what is to be written now
	seq     int64
	follow  map[int]int64 // nil: no logs
}

func (c *connection) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

func (c *connection) drop() {
	v := c.server
	v.mu.Lock()
	at := slices.Index(v.connections, c)
	if at >= 0 {
		v.connections = slices.Delete(v.connections, at, at+1)
	}
	v.mu.Unlock()
	if at >= 0 {
		close(c.done)
		c.conn.Close()
	}
}

const repliesMax = 256 // answers that wait for a peer to read them

// reply queues an answer. Who asks and does not read is hung up on.
func (c *connection) reply(frame []byte) {
	c.mu.Lock()
	full := len(c.replies) >= repliesMax
	if !full {
		c.replies = append(c.replies, frame)
	}
	c.mu.Unlock()
	if full {
		c.drop()
		return
	}
	c.wake()
}

// answer queues the answer to a request.
func (c *connection) answer(frame []byte) {
	c.reply(frame)
	c.mu.Lock()
	c.asked--
	c.mu.Unlock()
}

// behind says whether the other side has not been sent all that it is due: the records up to last, its answers, and the
// logs that it follows.
func (c *connection) behind(last int64, logs map[int]*steplog.Log) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.greeted {
		return false
	}
	if c.seq < last || c.writing || c.asked > 0 || len(c.replies) > 0 {
		return true
	}
	for ordinal, log := range logs {
		if c.follow != nil && c.follow[ordinal] < log.Readable() {
			return true
		}
	}
	return false
}

// finish has the connection end when everything is written, at once where the other side has not said hello.
func (c *connection) finish() {
	c.mu.Lock()
	greeted := c.greeted
	c.last = true
	c.mu.Unlock()
	if !greeted {
		c.drop()
	}
	c.wake()
}

// beat sends pings, so that the other side too notices a connection that is half dead.
func (c *connection) beat() {
	ticker := time.NewTicker(c.server.heartbeat)
	defer ticker.Stop()
	for n := int64(1); ; n++ {
		select {
		case <-ticker.C:
			c.reply(wire.Encode(wire.Beat{Type: "ping", N: n}))
		case <-c.done:
			return
		}
	}
}

// read takes requests until the connection breaks or falls silent. One that takes long (open copies, environment asks
// a shell) does not hold up the heartbeat; requests of one connection are carried out in their order.
func (c *connection) read(ctx context.Context) {
	defer c.drop()
	requests := make(chan func(), 64)
	defer close(requests)
	go func() {
		for request := range requests {
			request()
		}
	}()
	frames := wire.NewReader(c.conn)
	_ = c.conn.SetReadDeadline(time.Now().Add(helloLimit))
	for {
		message, err := frames.Next()
		if err == nil {
			_ = c.conn.SetReadDeadline(time.Now().Add(c.server.silence))
			err = c.take(ctx, message, requests)
		}
		var wrong wire.ProtocolError
		if errors.As(err, &wrong) {
			c.refuse(wrong)
			return
		}
		if err != nil {
			return
		}
	}
}

// refuse answers a breach of the protocol, after which the writer ends the connection.
func (c *connection) refuse(wrong wire.ProtocolError) {
	c.mu.Lock()
	c.replies = append(c.replies, wire.Encode(wire.Error{Type: "error", Code: "Protocol", Text: string(wrong)}))
	c.ending = true
	c.mu.Unlock()
	c.wake()
	select {
	case <-c.done:
	case <-time.After(refusalLimit): // the peer does not read
	}
}

func (c *connection) take(ctx context.Context, message []byte, requests chan<- func()) error {
	var head wire.Envelope
	if err := json.Unmarshal(message, &head); err != nil {
		return wire.ProtocolError("a message that is not a JSON object: " + err.Error())
	}
	session := c.server.session
	switch head.Type {
	case "hello":
		return c.hello(message)
	case "ping":
		var b wire.Beat
		_ = json.Unmarshal(message, &b)
		c.reply(wire.Encode(wire.Beat{Type: "pong", N: b.N}))
		return nil
	case "pong":
		return nil
	}
	c.mu.Lock()
	greeted := c.greeted
	if greeted {
		c.asked++
	}
	c.mu.Unlock()
	if !greeted {
		return wire.ProtocolError("the first message must be hello")
	}
	select {
	case requests <- func() { c.answer(session.Handle(ctx, head.Type, head.ID, message)) }:
		return nil
	case <-c.done:
		return io.EOF
	}
}

func (c *connection) hello(message []byte) error {
	var m wire.Hello
	if err := json.Unmarshal(message, &m); err != nil {
		return wire.ProtocolError("hello: " + err.Error())
	}
	agreed, err := m.Agree(c.server.version)
	if err != nil {
		return err
	}
	session := c.server.session
	welcome := wire.Welcome{
		Type: "welcome", Protocol: agreed, Protocols: wire.Range{Min: wire.ProtocolMin, Max: wire.ProtocolMax},
		Version: c.server.version, Seq: session.Last(),
	}
	welcome.Build, welcome.Attempt = session.Build()
	c.mu.Lock()
	if c.greeted {
		c.mu.Unlock()
		return wire.ProtocolError("hello came twice")
	}
	c.greeted = true
	c.seq = max(m.Since, 0)
	if m.Follow != nil {
		c.follow = map[int]int64{}
		for ordinal, offset := range m.Follow {
			if n, err := strconv.Atoi(ordinal); err == nil && offset >= 0 {
				c.follow[n] = offset
			}
		}
	}
	c.replies = slices.Insert(c.replies, 0, wire.Encode(welcome))
	c.mu.Unlock()
	c.wake()
	go c.beat() // not before: the welcome is the first thing that a peer reads
	return nil
}

// write sends what there is: answers, records, log bytes, in this order of urgency. A record is written before the
// answer to the request that made it.
func (c *connection) write() {
	defer c.drop()
	var frames []byte
	for {
		frames = frames[:0]
		c.mu.Lock()
		greeted, replies, seq := c.greeted, c.replies, c.seq
		ending, follows := c.ending, c.follow != nil
		c.replies, c.writing = nil, true
		c.mu.Unlock()
		// Looked up before the records: a step's log is not sent before the records of the steps ahead of it.
		var logs map[int]*steplog.Log
		if follows {
			logs = c.server.session.Logs()
		}
		if greeted {
			if len(replies) > 0 && isWelcome(replies[0]) { // goes first of all
				frames = append(frames, replies[0]...)
				replies = replies[1:]
			}
			for _, line := range c.server.session.Since(seq) {
				frames = wire.AppendMessage(frames, line)
				seq++
			}
		}
		for _, reply := range replies {
			frames = append(frames, reply...)
		}
		if len(frames) == 0 && greeted {
			frames = c.appendLogs(frames, logs)
		}
		if len(frames) > 0 {
			_ = c.conn.SetWriteDeadline(time.Now().Add(c.server.silence))
			if _, err := c.conn.Write(frames); err != nil {
				return
			}
			c.mu.Lock()
			c.writing = false
			if greeted {
				c.seq = max(c.seq, seq)
			}
			c.mu.Unlock()
			if ending {
				return
			}
			continue
		}
		c.mu.Lock()
		c.writing = false
		last := c.last
		c.mu.Unlock()
		if last {
			c.hangUp()
			return
		}
		select {
		case <-c.ready:
		case <-c.done:
			return
		}
	}
}

// hangUp ends our half of the connection and waits until the other side has read all and ends its own. An attach is a
// process of the box: it dies with PID 1, and what it has not passed on by then is lost.
func (c *connection) hangUp() {
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		<-c.done
	}
}

func isWelcome(frame []byte) bool {
	const begin = `{"type":"welcome"`
	return len(frame) > 5+len(begin) && string(frame[5:5+len(begin)]) == begin
}

// appendLogs appends the next piece of the logs that are followed and have more than was sent, in the order of their
// steps: a log begins when those before it are sent to their end.
func (c *connection) appendLogs(frames []byte, logs map[int]*steplog.Log) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.follow == nil {
		return frames
	}
	for _, ordinal := range slices.Sorted(maps.Keys(logs)) {
		log := logs[ordinal]
		at := c.follow[ordinal]
		n := min(log.Readable()-at, wire.LogChunk)
		if n <= 0 {
			continue
		}
		data := make([]byte, n)
		got, _ := log.ReadAt(data, at)
		if got == 0 {
			continue
		}
		frames = wire.AppendLog(frames, ordinal, at, data[:got])
		c.follow[ordinal] = at + int64(got)
		if log.Readable() > c.follow[ordinal] {
			break
		}
	}
	return frames
}
