// Package control is the socket on which operators ask for things: connections, heartbeats, answers, records and logs.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/session"
	"sentinel.wercker.com/boxkit/internal/wire"
)

const (
	attachMax  = 16
	helloLimit = 10 * time.Second
)

// Heartbeats, both ways.
const (
	heartbeat = 15 * time.Second
	silence   = 45 * time.Second
)

// Server is the control socket: it accepts attaches and wakes them when there is something to tell.
type Server struct {
	path               string
	version            string
	session            *session.Session
	heartbeat, silence time.Duration // tests have less

	mu      sync.Mutex
	socket  net.Listener
	made    os.FileInfo // of its name
	attachs []*attach
	writing sync.WaitGroup
}

// attach is one connection.
type attach struct {
	server *Server
	conn   net.Conn
	ready  chan struct{} // capacity 1: something to write
	done   chan struct{}

	mu      sync.Mutex
	greeted bool
	replies [][]byte
	seq     int64
	follow  map[int]int64 // nil: no logs
}

// NewServer is a server whose socket will be at path.
func NewServer(path, version string) *Server {
	return &Server{path: path, version: version, heartbeat: heartbeat, silence: silence}
}

// Serve gives it the session that it is for.
func (v *Server) Serve(s *session.Session) { v.session = s }

// Tune lets tests shorten the heartbeat.
func (v *Server) Tune(getenv func(string) string) error {
	for name, value := range map[string]*time.Duration{
		"SENTINEL_HEARTBEAT": &v.heartbeat, "SENTINEL_SILENCE": &v.silence,
	} {
		if text := getenv(name); text != "" {
			parsed, err := time.ParseDuration(text)
			if err != nil || parsed <= 0 {
				return fmt.Errorf("%s: %q is no duration", name, text)
			}
			*value = parsed
		}
	}
	return nil
}

func (v *Server) Wake() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, a := range v.attachs {
		a.wake()
	}
}

// Listen makes the socket, or makes it again where somebody removed it.
func (v *Server) Listen() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := os.Remove(v.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// A socket's name is at most 107 bytes; by way of the directory's descriptor any place will do.
	dir, err := safefile.Open(filepath.Dir(v.path), syscall.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	socket, err := net.Listen("unix", "/proc/self/fd/"+strconv.Itoa(int(dir.Fd()))+"/"+filepath.Base(v.path))
	if err != nil {
		return err
	}
	socket.(*net.UnixListener).SetUnlinkOnClose(false)
	if v.socket != nil {
		v.socket.Close()
	}
	v.socket = socket
	v.made, _ = os.Lstat(v.path)
	go v.accept(socket)
	return nil
}

// Mend listens again where the socket's name is gone or another file's.
func (v *Server) Mend() error {
	found, err := os.Lstat(v.path)
	v.mu.Lock()
	intact := err == nil && v.made != nil && os.SameFile(found, v.made)
	v.mu.Unlock()
	if intact {
		return nil
	}
	return v.Listen()
}

func (v *Server) accept(socket net.Listener) {
	for {
		conn, err := socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond) // out of descriptors or memory: others may let go of some
			continue
		}
		a := &attach{server: v, conn: conn, ready: make(chan struct{}, 1), done: make(chan struct{})}
		v.mu.Lock()
		v.attachs = append(v.attachs, a)
		var oldest *attach
		if len(v.attachs) > attachMax {
			oldest = v.attachs[0]
		}
		v.mu.Unlock()
		if oldest != nil {
			oldest.drop()
		}
		v.writing.Add(1)
		go func() {
			defer v.writing.Done()
			a.write()
		}()
		go a.read()
		go a.beat()
	}
}

func (a *attach) wake() {
	select {
	case a.ready <- struct{}{}:
	default:
	}
}

func (a *attach) drop() {
	v := a.server
	v.mu.Lock()
	at := slices.Index(v.attachs, a)
	if at >= 0 {
		v.attachs = slices.Delete(v.attachs, at, at+1)
	}
	v.mu.Unlock()
	if at >= 0 {
		close(a.done)
		a.conn.Close()
	}
}

const repliesMax = 256 // answers that wait for a peer to read them

// reply queues an answer. Who asks and does not read is hung up on.
func (a *attach) reply(frame []byte) {
	a.mu.Lock()
	full := len(a.replies) >= repliesMax
	if !full {
		a.replies = append(a.replies, frame)
	}
	a.mu.Unlock()
	if full {
		a.drop()
		return
	}
	a.wake()
}

// beat sends pings, so that the other side too notices a connection that is half dead.
func (a *attach) beat() {
	ticker := time.NewTicker(a.server.heartbeat)
	defer ticker.Stop()
	for n := int64(1); ; n++ {
		select {
		case <-ticker.C:
			a.reply(wire.Encode(wire.Beat{Type: "ping", N: n}))
		case <-a.done:
			return
		}
	}
}

// read takes requests until the connection breaks or falls silent. One that takes long (open copies, environment asks
// a shell) does not hold up the heartbeat; requests of one connection are carried out in their order.
func (a *attach) read() {
	defer a.drop()
	requests := make(chan func(), 64)
	defer close(requests)
	go func() {
		for request := range requests {
			request()
		}
	}()
	frames := wire.NewReader(a.conn)
	_ = a.conn.SetReadDeadline(time.Now().Add(helloLimit))
	for {
		message, err := frames.Next()
		if err == nil {
			_ = a.conn.SetReadDeadline(time.Now().Add(a.server.silence))
			err = a.take(message, requests)
		}
		var wrong wire.ProtocolError
		if errors.As(err, &wrong) {
			a.lastWord(wrong)
			return
		}
		if err != nil {
			return
		}
	}
}

// lastWord tells the other side what it did wrong, and gives the writer a moment to say it.
func (a *attach) lastWord(wrong wire.ProtocolError) {
	a.reply(wire.Encode(wire.Error{Type: "error", Code: "Protocol", Text: string(wrong)}))
	for range 100 {
		a.mu.Lock()
		left := len(a.replies)
		a.mu.Unlock()
		if left == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (a *attach) take(message []byte, requests chan<- func()) error {
	var head wire.Envelope
	if err := json.Unmarshal(message, &head); err != nil {
		return wire.ProtocolError("a message that is no JSON object: " + err.Error())
	}
	session := a.server.session
	switch head.Type {
	case "hello":
		return a.hello(message)
	case "ping":
		var b wire.Beat
		_ = json.Unmarshal(message, &b)
		a.reply(wire.Encode(wire.Beat{Type: "pong", N: b.N}))
		return nil
	case "pong":
		return nil
	}
	a.mu.Lock()
	greeted := a.greeted
	a.mu.Unlock()
	if !greeted {
		return wire.ProtocolError("the first message must be hello")
	}
	select {
	case requests <- func() { a.reply(session.Handle(head.Type, head.ID, message)) }:
		return nil
	case <-a.done:
		return io.EOF
	}
}

func (a *attach) hello(message []byte) error {
	var m wire.Hello
	if err := json.Unmarshal(message, &m); err != nil {
		return wire.ProtocolError("hello: " + err.Error())
	}
	agreed, err := m.Agree(a.server.version)
	if err != nil {
		return err
	}
	session := a.server.session
	welcome := wire.Welcome{
		Type: "welcome", Protocol: agreed, Protocols: wire.Range{Min: wire.ProtocolMin, Max: wire.ProtocolMax},
		Version: a.server.version, Seq: session.Journal.Last(),
	}
	welcome.Build, welcome.Attempt = session.Build()
	a.mu.Lock()
	a.greeted = true
	a.seq = max(m.Since, 0)
	if m.Follow != nil {
		a.follow = map[int]int64{}
		for ordinal, offset := range m.Follow {
			if n, err := strconv.Atoi(ordinal); err == nil && offset >= 0 {
				a.follow[n] = offset
			}
		}
	}
	a.replies = append(a.replies, wire.Encode(welcome))
	a.mu.Unlock()
	a.wake()
	return nil
}

// write sends what there is: answers, records, log bytes, in this order of urgency. A record is written before the
// answer to the request that made it.
func (a *attach) write() {
	defer a.drop()
	var frames []byte
	for {
		frames = frames[:0]
		a.mu.Lock()
		greeted, replies, seq := a.greeted, a.replies, a.seq
		a.replies = nil
		a.mu.Unlock()
		if greeted {
			if len(replies) > 0 && isWelcome(replies[0]) { // goes first of all
				frames = append(frames, replies[0]...)
				replies = replies[1:]
			}
			for _, line := range a.server.session.Journal.Since(seq) {
				frames = wire.AppendMessage(frames, line)
				seq++
			}
		}
		for _, reply := range replies {
			frames = append(frames, reply...)
		}
		if len(frames) == 0 && greeted && a.follow != nil {
			frames = a.logs(frames)
		}
		if len(frames) > 0 {
			_ = a.conn.SetWriteDeadline(time.Now().Add(a.server.silence))
			if _, err := a.conn.Write(frames); err != nil {
				return
			}
			a.mu.Lock()
			if greeted {
				a.seq = max(a.seq, seq)
			}
			a.mu.Unlock()
			continue
		}
		select {
		case <-a.ready:
		case <-a.done:
			return
		}
	}
}

func isWelcome(frame []byte) bool {
	const begin = `{"type":"welcome"`
	return len(frame) > 5+len(begin) && string(frame[5:5+len(begin)]) == begin
}

// logs appends the next piece of every log that has more than was sent.
func (a *attach) logs(frames []byte) []byte {
	logs := a.server.session.Followed()
	for _, ordinal := range slices.Sorted(maps.Keys(logs)) {
		log := logs[ordinal]
		at := a.follow[ordinal]
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
		a.follow[ordinal] = at + int64(got)
	}
	return frames
}

// End lets every attach have the last record, for so long as limit, and closes them all.
func (v *Server) End(limit time.Duration) {
	last := v.session.Journal.Last()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		behind := false
		v.mu.Lock()
		for _, a := range v.attachs {
			a.mu.Lock()
			behind = behind || a.greeted && (a.seq < last || len(a.replies) > 0)
			a.mu.Unlock()
		}
		v.mu.Unlock()
		if !behind {
			break
		}
	}
	v.mu.Lock()
	v.socket.Close()
	attachs := slices.Clone(v.attachs)
	v.mu.Unlock()
	for _, a := range attachs {
		a.drop()
	}
	v.writing.Wait()
}
