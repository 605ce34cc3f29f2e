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
	// refusalLimit is how long a peer that broke the protocol has for reading why.
	refusalLimit = 500 * time.Millisecond
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
		a := &connection{server: v, conn: conn, ready: make(chan struct{}, 1), done: make(chan struct{})}
		v.mu.Lock()
		v.connections = append(v.connections, a)
		var oldest *connection
		if len(v.connections) > attachMax {
			oldest = v.connections[0]
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
		go a.read(ctx)
		go a.beat()
	}
}

// End lets every attach have the last record, for so long as limit, and closes them all.
func (v *Server) End(limit time.Duration) {
	last := v.session.Last()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		behind := false
		v.mu.Lock()
		for _, a := range v.connections {
			a.mu.Lock()
			behind = behind || a.greeted && (a.seq < last || a.writing || len(a.replies) > 0)
			a.mu.Unlock()
		}
		v.mu.Unlock()
		if !behind {
			break
		}
	}
	v.mu.Lock()
	v.socket.Close()
	connections := slices.Clone(v.connections)
	v.mu.Unlock()
	for _, a := range connections {
		a.drop()
	}
	v.writing.Wait()
}
