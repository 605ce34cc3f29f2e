// Package control is the socket on which operators ask for things: connections, heartbeats, answers, records and logs.
package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/steplog"
)

const (
	attachMax  = 16
	helloLimit = 10 * time.Second
	// refusalLimit is how long a peer that broke the protocol has for reading why. It begins before the writer has run:
	// on a busy machine a short one would end the connection without a word.
	refusalLimit = 10 * time.Second
)

// Heartbeats, both ways.
const (
	heartbeat = 15 * time.Second
	silence   = 45 * time.Second
)

// Session is what the connections are for: session.Session.
type Session interface {
	// Handle carries out a request and returns its answer, framed.
	Handle(ctx context.Context, kind string, id int64, message []byte) []byte
	// Build is whose session it is; none, with attempt 0, before `open`.
	Build() (uid string, attempt int)
	// Since returns the encoded records after a number; Last is the newest one's.
	Since(seq int64) [][]byte
	Last() int64
	// Logs are those of the steps that began, by ordinal.
	Logs() map[int]*steplog.Log
}

// Server is the control socket: it accepts attaches and wakes them when there is something to tell.
type Server struct {
	path               string
	version            string
	session            Session
	heartbeat, silence time.Duration // tests have less

	mu          sync.Mutex
	socket      net.Listener
	made        os.FileInfo // of its name
	connections []*connection
	writing     sync.WaitGroup
	ended       bool // no connection is taken any more
}

// NewServer is a server whose socket will be at path.
func NewServer(path, version string) *Server {
	return &Server{path: path, version: version, heartbeat: heartbeat, silence: silence}
}

// Serve gives it the session that it is for.
func (v *Server) Serve(s Session) { v.session = s }

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
	for _, a := range v.connections {
		a.wake()
	}
}

// Listen makes the socket, or makes it again where it was removed.
func (v *Server) Listen(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return nil
	}
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
	go v.accept(ctx, socket)
	return nil
}

// Mend listens again where the socket's name is gone or another file's.
func (v *Server) Mend(ctx context.Context) error {
	found, err := os.Lstat(v.path)
	v.mu.Lock()
	intact := err == nil && v.made != nil && os.SameFile(found, v.made)
	v.mu.Unlock()
	if intact {
		return nil
	}
	return v.Listen(ctx)
}

func (v *Server) accept(ctx context.Context, socket net.Listener) {
	for {
		conn, err := socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond) // out of descriptors or memory: others may let go of some
			continue
		}
		v.take(ctx, conn)
	}
}

// take begins a connection. One that comes when the session has ended is closed: nobody would end it later.
func (v *Server) take(ctx context.Context, conn net.Conn) {
	c := &connection{server: v, conn: conn, ready: make(chan struct{}, 1), done: make(chan struct{})}
	v.mu.Lock()
	if v.ended {
		v.mu.Unlock()
		conn.Close()
		return
	}
	v.connections = append(v.connections, c)
	var oldest *connection
	if len(v.connections) > attachMax {
		oldest = v.connections[0]
	}
	v.writing.Add(1)
	v.mu.Unlock()
	if oldest != nil {
		oldest.drop()
	}
	go func() {
		defer v.writing.Done()
		c.write()
	}()
	go c.read(ctx)
}

// End lets every attach have the last record, the answers to its requests and the logs that it follows, and waits until
// it has hung up: for limit at most. Then it closes them all.
func (v *Server) End(limit time.Duration) {
	last, logs := v.session.Last(), v.session.Logs()
	deadline := time.Now().Add(limit)
	for ; time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		v.mu.Lock()
		behind := slices.ContainsFunc(v.connections, func(c *connection) bool { return c.behind(last, logs) })
		v.mu.Unlock()
		if !behind {
			break
		}
	}
	v.mu.Lock()
	v.ended = true
	if v.socket != nil {
		v.socket.Close()
	}
	connections := slices.Clone(v.connections)
	v.mu.Unlock()
	over, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	for _, c := range connections {
		c.finish()
	}
	for _, c := range connections {
		select {
		case <-c.done:
		case <-over.Done():
		}
		c.drop()
	}
	v.writing.Wait()
}
