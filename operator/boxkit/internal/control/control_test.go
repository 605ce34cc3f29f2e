package control

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sentinel.wercker.com/boxkit/internal/steplog"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// fakeSession answers every request with ok and has the records and logs that a test gives it.
type fakeSession struct {
	mu      sync.Mutex
	records [][]byte
	logs    map[int]*steplog.Log
	handled chan string   // gets the kind of each request, where a test wants it
	hold    chan struct{} // closed when requests may be answered, where a test holds them up
	looked  func()        // called once, after the next look at the records that finds none
}

func (s *fakeSession) Handle(_ context.Context, kind string, id int64, _ []byte) []byte {
	if s.handled != nil {
		s.handled <- kind
		<-s.hold
	}
	return wire.Encode(wire.OK{Type: "ok", ID: id})
}

func (s *fakeSession) Build() (string, int) { return "b1", 2 }

func (s *fakeSession) Since(seq int64) [][]byte {
	s.mu.Lock()
	found := slices.Clone(s.records[min(seq, int64(len(s.records))):])
	var looked func()
	if len(found) == 0 {
		looked, s.looked = s.looked, nil
	}
	s.mu.Unlock()
	if looked != nil {
		looked()
	}
	return found
}

func (s *fakeSession) Last() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.records))
}

func (s *fakeSession) Logs() map[int]*steplog.Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.logs)
}

func (s *fakeSession) record(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, fmt.Appendf(nil, `{"type":"record","seq":%d,"kind":%q}`, len(s.records)+1, kind))
}

// served is a server on a socket, with a fake session behind it.
type served struct {
	*Server
	session *fakeSession
	dir     string
	t       *testing.T
}

func serve(t *testing.T, change ...func(v *Server)) *served {
	t.Helper()
	dir := t.TempDir()
	s := &served{Server: NewServer(filepath.Join(dir, "control.sock"), "9.9"), session: &fakeSession{}, dir: dir, t: t}
	for _, each := range change {
		each(s.Server)
	}
	s.Serve(s.session)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.End(time.Second) })
	return s
}

// client is the other side of a connection.
type client struct {
	net.Conn
	t *testing.T
}

func (s *served) dial() *client {
	s.t.Helper()
	conn, err := net.Dial("unix", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{Conn: conn, t: s.t}
}

func (c *client) send(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		if _, err := c.Write(wire.AppendMessage(nil, []byte(text))); err != nil {
			c.t.Fatal(err)
		}
	}
}

// next is the next frame: a JSON message, or "log ORDINAL OFFSET TEXT"; "end" when the connection has ended.
func (c *client) next() string {
	c.t.Helper()
	var head [5]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return "end"
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:4])-1)
	if _, err := io.ReadFull(c, body); err != nil {
		c.t.Fatal(err)
	}
	if head[4] == 'L' {
		return fmt.Sprintf("log %d %d %s", binary.BigEndian.Uint32(body), binary.BigEndian.Uint64(body[4:]), body[12:])
	}
	return string(body)
}

func (c *client) want(texts ...string) {
	c.t.Helper()
	for _, want := range texts {
		if got := c.next(); got != want {
			c.t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// until skips frames before the one that begins so.
func (c *client) until(begin string) string {
	c.t.Helper()
	for {
		got := c.next()
		if strings.HasPrefix(got, begin) || got == "end" {
			return got
		}
	}
}

// piped is a connection in memory, to a server without a socket. Within synctest its time is the test's.
func piped(t *testing.T, values map[string]string) *client {
	t.Helper()
	v := NewServer("", "9.9")
	if err := v.Tune(func(name string) string { return values[name] }); err != nil {
		t.Fatal(err)
	}
	v.Serve(&fakeSession{})
	ours, theirs := net.Pipe()
	v.take(t.Context(), ours)
	t.Cleanup(func() {
		theirs.Close()
		v.writing.Wait()
	})
	return &client{Conn: theirs, t: t}
}

const (
	hello   = `{"type":"hello","protocols":{"min":1,"max":9},"since":0}`
	welcome = `{"type":"welcome","protocol":1,"protocols":{"min":1,"max":1},"version":"9.9","seq":%d,"build":"b1","attempt":2}`
)

func TestAConnectionGetsRecordsThenItsAnswers(t *testing.T) {
	s := serve(t)
	s.session.record("opened")
	c := s.dial()
	c.send(hello)
	c.want(fmt.Sprintf(welcome, 1), `{"type":"record","seq":1,"kind":"opened"}`)
	c.send(`{"type":"start","id":7}`, `{"type":"ping","n":3}`, `{"type":"pong","n":3}`)
	answers := []string{c.next(), c.next()}
	slices.Sort(answers) // a heartbeat does not wait for requests
	if want := []string{`{"type":"ok","id":7}`, `{"type":"pong","n":3}`}; !slices.Equal(answers, want) {
		t.Errorf("%q", answers)
	}
	s.session.record("queued")
	s.Wake()
	c.want(`{"type":"record","seq":2,"kind":"queued"}`)

	late := s.dial()
	late.send(`{"type":"hello","protocol":1,"since":1}`)
	late.want(fmt.Sprintf(welcome, 2), `{"type":"record","seq":2,"kind":"queued"}`)
}

// printed adds the finished log of a step.
func (s *served) printed(ordinal int, text string) {
	s.t.Helper()
	tap, err := steplog.NewTap(steplog.NewConsole(io.Discard), func() {})
	if err != nil {
		s.t.Fatal(err)
	}
	log, err := steplog.New(filepath.Join(s.dir, fmt.Sprint(ordinal)), ordinal, 1<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	tap.Begin(log)
	if _, err := tap.WriteEnd().WriteString(text); err != nil {
		s.t.Fatal(err)
	}
	tap.Finish(log)
	s.session.mu.Lock()
	defer s.session.mu.Unlock()
	if s.session.logs == nil {
		s.session.logs = map[int]*steplog.Log{}
	}
	s.session.logs[ordinal] = log
}

func TestFollowersGetLogsFromTheirOffsets(t *testing.T) {
	s := serve(t)
	s.printed(1, "first")
	s.printed(2, "second")
	c := s.dial()
	c.send(`{"type":"hello","protocol":1,"follow":{"1":3,"nonsense":1,"9":-1}}`)
	c.want(fmt.Sprintf(welcome, 0), "log 1 3 st", "log 2 0 second")
}

func TestALogIsSentToItsEndBeforeTheNext(t *testing.T) {
	s := serve(t)
	long := strings.Repeat("x", wire.LogChunk)
	s.printed(1, long+"end")
	s.printed(2, "second")
	c := s.dial()
	c.send(`{"type":"hello","protocol":1,"follow":{}}`)
	c.want(fmt.Sprintf(welcome, 0), "log 1 0 "+long, fmt.Sprintf("log 1 %d end", len(long)), "log 2 0 second")
}

// A step that prints nothing may begin and end between the look at the records and the one at the logs.
func TestALogIsSentAfterTheRecordsOfTheStepsBefore(t *testing.T) {
	s := serve(t)
	c := s.dial()
	c.send(`{"type":"hello","protocol":1,"follow":{}}`)
	c.want(fmt.Sprintf(welcome, 0))
	s.session.mu.Lock()
	s.session.looked = func() {
		s.session.record("finished")
		s.printed(2, "second")
		s.Wake()
	}
	s.session.mu.Unlock()
	s.Wake()
	c.want(`{"type":"record","seq":1,"kind":"finished"}`, "log 2 0 second")
}

func TestWhatEndsAConnection(t *testing.T) {
	for name, test := range map[string]struct {
		sends string
		code  string
	}{
		"a request before hello": {`{"type":"start","id":1}`, "the first message must be hello"},
		"no JSON":                {`{`, "a message that is not a JSON object"},
		"another protocol":       {`{"type":"hello","protocols":{"min":7,"max":9}}`, "the operator speaks protocol 7 to 9, this boxkit (9.9) 1 to 1"},
		"a hello of nonsense":    {`{"type":"hello","since":"x"}`, "hello: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			c := s.dial()
			c.send(test.sends)
			var refused wire.Error
			if err := json.Unmarshal([]byte(c.next()), &refused); err != nil || refused.Code != "Protocol" || !strings.Contains(refused.Text, test.code) {
				t.Errorf("%+v, %v", refused, err)
			}
			c.want("end")
		})
	}
}

func TestASilentConnectionIsDroppedAndPingsKeepOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const silence = 4500 * time.Millisecond
		c := piped(t, map[string]string{"SENTINEL_HEARTBEAT": "1s", "SENTINEL_SILENCE": silence.String()})
		time.Sleep(5 * time.Second)
		c.send(hello)
		c.want(fmt.Sprintf(welcome, 0)) // before any ping
		for n := range 100 {
			c.want(fmt.Sprintf(`{"type":"ping","n":%d}`, n+1))
			c.send(fmt.Sprintf(`{"type":"pong","n":%d}`, n+1))
		}
		last := time.Now()
		if got := c.until("never"); got != "end" {
			t.Errorf("%s", got)
		}
		if silent := time.Since(last); silent != silence {
			t.Errorf("dropped after %s", silent)
		}
	})
}

func TestOneThatSaysNothingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, nil)
		began := time.Now()
		c.want("end")
		if waited := time.Since(began); waited != helloLimit {
			t.Errorf("dropped after %s", waited)
		}
	})
}

func TestWhatIsNoHeartbeat(t *testing.T) {
	if err := NewServer("", "9.9").Tune(func(string) string { return "-1s" }); err == nil {
		t.Error("a heartbeat before it is due")
	}
}

func TestASecondHelloEndsTheConnection(t *testing.T) {
	s := serve(t)
	c := s.dial()
	c.send(hello, hello)
	c.want(fmt.Sprintf(welcome, 0), `{"type":"error","id":0,"code":"Protocol","text":"hello came twice"}`, "end")
}

func TestTheOldestOfTooManyConnectionsGoes(t *testing.T) {
	s := serve(t)
	var all []*client
	for range attachMax + 1 {
		c := s.dial()
		c.send(hello)
		c.want(fmt.Sprintf(welcome, 0))
		all = append(all, c)
	}
	all[0].want("end")
	s.session.record("queued")
	s.Wake()
	all[1].want(`{"type":"record","seq":1,"kind":"queued"}`)
}

func TestOneThatAsksAndDoesNotReadIsDropped(t *testing.T) {
	s := serve(t)
	c := s.dial()
	c.send(hello)
	var frames []byte
	for range 100 {
		frames = wire.AppendMessage(frames, []byte(`{"type":"ping","n":1}`))
	}
	for {
		if _, err := c.Write(frames); err != nil {
			if os.IsTimeout(err) {
				t.Error("it may ask for ever")
			}
			return
		}
	}
}

func TestTheSocketIsMadeAgain(t *testing.T) {
	s := serve(t)
	before, err := os.Lstat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Lstat(s.path); err != nil || !os.SameFile(before, after) {
		t.Errorf("a socket that is there was replaced: %v", err)
	}
	old := s.dial()
	old.send(hello)
	old.want(fmt.Sprintf(welcome, 0))
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	if err := s.Mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := s.dial()
	fresh.send(hello)
	fresh.want(fmt.Sprintf(welcome, 0))
	s.session.record("queued")
	s.Wake()
	old.want(`{"type":"record","seq":1,"kind":"queued"}`)
}

// ends begins to end the server, and returns a channel that is closed when it has ended.
func (s *served) ends() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.End(time.Minute)
	}()
	return ended
}

func TestTheEndLetsEverybodyHaveTheLastRecord(t *testing.T) {
	s := serve(t)
	c := s.dial()
	c.send(hello)
	c.want(fmt.Sprintf(welcome, 0))
	s.session.record("closed")
	s.Wake()
	ended := s.ends()
	c.want(`{"type":"record","seq":1,"kind":"closed"}`, "end")
	c.Close()
	<-ended
	if _, err := net.Dial("unix", s.path); err == nil {
		t.Error("it listens on")
	}
}

// An attach is a process of the box, which dies with PID 1: it must have passed on what it read.
func TestTheEndWaitsForAnswersAndUntilTheOtherSideHangsUp(t *testing.T) {
	s := serve(t)
	s.session.handled, s.session.hold = make(chan string, 1), make(chan struct{})
	c := s.dial()
	c.send(hello, `{"type":"close","id":7}`)
	c.want(fmt.Sprintf(welcome, 0))
	<-s.session.handled
	ended := s.ends()
	still := func(what string) {
		select {
		case <-ended:
			t.Errorf("it has ended %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
	still("before its answer")
	close(s.session.hold)
	c.want(`{"type":"ok","id":7}`, "end")
	still("before the other side has hung up")
	c.Close()
	<-ended
}

func TestTheEndWaitsForLogsThatAreFollowed(t *testing.T) {
	s := serve(t)
	log, err := steplog.New(filepath.Join(s.dir, "log"), 1, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	tap, err := steplog.NewTap(steplog.NewConsole(io.Discard), s.Wake)
	if err != nil {
		t.Fatal(err)
	}
	s.session.logs = map[int]*steplog.Log{1: log}
	text := strings.Repeat("0123456789", 400_000) // more than a socket holds
	tap.Begin(log)
	if _, err := tap.WriteEnd().WriteString(text); err != nil {
		t.Fatal(err)
	}
	tap.Finish(log)
	c := s.dial()
	c.send(`{"type":"hello","protocol":1,"follow":{}}`)
	c.want(fmt.Sprintf(welcome, 0))
	ended := s.ends()
	read := 0
	for got := c.next(); got != "end"; got = c.next() {
		read += len(got) - len(fmt.Sprintf("log 1 %d ", read))
	}
	if read != len(text) {
		t.Errorf("%d bytes of %d", read, len(text))
	}
	c.Close()
	<-ended
}

func TestAConnectionThatComesAfterTheEndIsClosed(t *testing.T) {
	s := serve(t)
	s.End(time.Second)
	ours, theirs := net.Pipe()
	s.take(t.Context(), ours)
	(&client{theirs, t}).want("end")
	s.writing.Wait()
	if err := s.Mend(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", s.path); err == nil {
		t.Error("it listens again")
	}
}

// slowConn writes only after a while, as on a busy machine; not at all if it was closed before.
type slowConn struct {
	net.Conn
	closed chan struct{}
}

func (s *slowConn) Write(data []byte) (int, error) {
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	case <-time.After(time.Second):
		return s.Conn.Write(data)
	}
}

func (s *slowConn) Close() error {
	close(s.closed)
	return s.Conn.Close()
}

func TestARefusalIsWrittenBeforeItsConnectionEnds(t *testing.T) {
	ours, theirs := net.Pipe()
	v := NewServer(filepath.Join(t.TempDir(), "control.sock"), "9.9")
	v.Serve(&fakeSession{})
	c := &connection{
		server: v, conn: &slowConn{ours, make(chan struct{})}, ready: make(chan struct{}, 1), done: make(chan struct{}),
	}
	v.connections = []*connection{c}
	go c.write()
	go c.read(t.Context())
	peer := &client{theirs, t}
	peer.send(`{"type":"start","id":1}`)
	peer.want(`{"type":"error","id":0,"code":"Protocol","text":"the first message must be hello"}`, "end")
}
