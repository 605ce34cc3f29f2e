// Package session is one attempt of a build: requests come in (requests.go), one goroutine runs the steps (runner.go), and
// what happens is written to the journal.
package session

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"time"

	"sentinel.wercker.com/boxkit/internal/journal"
	"sentinel.wercker.com/boxkit/internal/proc"
	"sentinel.wercker.com/boxkit/internal/shell"
	"sentinel.wercker.com/boxkit/internal/steplog"
	"sentinel.wercker.com/boxkit/internal/store"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// Config is what a session is made of.
type Config struct {
	Dir     string // where it keeps its files; it must exist
	Kit     string // where boxkit lies, for its certificates
	Cgroup  string // the box's own cgroup
	Reaper  *proc.Reaper
	Console *steplog.Console
	Wake    func()       // called when there is a new record, or more of a log
	Listen  func() error // makes the control socket again where it is not ours any more
}

// Session takes requests. They may come twice and from several connections; each of them first looks whether it was
// carried out before.
type Session struct {
	kit       string
	console   *steplog.Console
	journal   *journal.Journal
	files     *directory
	tap       *steplog.Tap
	queue     *queue
	secrets   *secrets
	exports   *exports
	logs      *logs
	collector *collector
	uploads   *store.Uploads
	reaper    *proc.Reaper
	runner    *runner

	opens      chan<- *opened
	terminated chan struct{}

	opening sync.Mutex // one open at a time: it may copy for long

	mu     sync.Mutex
	opened *opened // nil until the first open has been carried out
	client *http.Client
	notes  map[string]bool // keys of what was noted
}

// New makes everything that needs no `open`.
func New(c Config) (*Session, error) {
	files := &directory{path: c.Dir, listen: c.Listen}
	if err := files.make(); err != nil {
		return nil, err
	}
	j, err := journal.New(files.join("journal"), c.Wake)
	if err != nil {
		return nil, err
	}
	tap, err := steplog.NewTap(c.Console, c.Wake)
	if err != nil {
		return nil, err
	}
	host, err := shell.NewHost(c.Dir, c.Reaper, tap.WriteEnd(), files.mend)
	if err != nil {
		return nil, err
	}
	files.fifo = host.Mend
	opens := make(chan *opened, 1)
	s := &Session{
		kit:        c.Kit,
		console:    c.Console,
		journal:    j,
		files:      files,
		tap:        tap,
		queue:      newQueue(j),
		secrets:    &secrets{},
		exports:    &exports{},
		logs:       &logs{byOrdinal: map[int]*steplog.Log{}},
		uploads:    store.NewUploads(j),
		reaper:     c.Reaper,
		opens:      opens,
		terminated: make(chan struct{}),
		notes:      map[string]bool{},
	}
	s.collector = newCollector(j, files, s.secrets.short, c.Console.Line)
	s.runner = &runner{
		terminated: s.terminated,
		parts: parts{
			journal:   j,
			queue:     s.queue,
			opens:     opens,
			files:     files,
			secrets:   s.secrets,
			exports:   s.exports,
			logs:      s.logs,
			collector: s.collector,
			uploads:   s.uploads,
			shells:    hosted{host},
			stopAll:   proc.StopAll,
			printed:   tap,
			usage:     proc.OpenCgroup(c.Cgroup),
			header:    c.Console.Line,
		},
	}
	return s, nil
}

// hosted are the shells of a host.
type hosted struct{ *shell.Host }

func (h hosted) Start(ctx context.Context, spec shell.Spec) (process, error) {
	started, err := h.Host.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return started, nil
}

// Run runs steps until the session is closed or terminated, and returns the exit code of boxkit. ctx is that of the
// requests too; stop ends it.
func (s *Session) Run(ctx context.Context, stop context.CancelFunc) int {
	return s.runner.run(ctx, stop)
}

// Terminate is for SIGTERM, once. It is journaled before anything is stopped: an eviction for a limit of the pod's own
// leaves one second, and the operator, which reads the box's output from its node, must know at once.
func (s *Session) Terminate() {
	s.journal.Append(time.Now(), wire.StoppingRecord{Signal: "SIGTERM"})
	close(s.terminated)
}

// Build is whose session it is: none, with attempt 0, until it was opened.
func (s *Session) Build() (uid string, attempt int) {
	if o := s.settled(); o != nil {
		return o.build, o.attempt
	}
	return "", 0
}

// Since returns the encoded records after seq.
func (s *Session) Since(seq int64) [][]byte { return s.journal.Since(seq) }

// Last is the number of the newest record.
func (s *Session) Last() int64 { return s.journal.Last() }

// Logs are those of the steps that began, by ordinal.
func (s *Session) Logs() map[int]*steplog.Log { return s.logs.all() }

// settled is what `open` settled, or nil.
func (s *Session) settled() *opened {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

func (s *Session) storeClient() *http.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

// logs are those of the steps that began.
type logs struct {
	mu        sync.Mutex
	byOrdinal map[int]*steplog.Log
}

func (l *logs) add(ordinal int, log *steplog.Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byOrdinal[ordinal] = log
}

func (l *logs) all() map[int]*steplog.Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.byOrdinal)
}
