// Package session is one attempt of a build: requests come in, steps run in their order, records go to the journal.
package session

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"sentinel.wercker.com/boxkit/internal/journal"
	"sentinel.wercker.com/boxkit/internal/mask"
	"sentinel.wercker.com/boxkit/internal/nonce"
	"sentinel.wercker.com/boxkit/internal/pipe"
	"sentinel.wercker.com/boxkit/internal/proc"
	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/services"
	"sentinel.wercker.com/boxkit/internal/shell"
	"sentinel.wercker.com/boxkit/internal/steplog"
	"sentinel.wercker.com/boxkit/internal/store"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// Session is one attempt of a build: what was asked (requests) and the goroutine that runs it (runner).
// Requests may come twice and from several attaches; each of them first looks whether it was done before.
type Session struct {
	dir     string
	kit     string
	Journal *journal.Journal
	reaper  *proc.Reaper
	console *steplog.Console
	listen  func() error // makes the control socket again where it is not ours any more

	out     *steplog.Output
	pipe    *pipe.Source // feeds out
	pipeEnd *os.File
	status  *shell.Status // the runner's alone
	uploads *store.Uploads
	cgroup  *proc.Cgroup

	opening sync.Mutex // one open at a time: it may copy for long

	mu         sync.Mutex
	open       *wire.Open
	opened     time.Time
	env        []string // literal
	shellPath  string
	shellArgs  []string
	shellError error
	client     *http.Client
	masks      *mask.Set
	values     [][]byte
	steps      []*step
	byOrdinal  map[int]*step
	result     *wire.Result
	cancelled  *wire.Cancel
	mainOver   bool
	closing    bool
	ended      bool
	dump       []byte // export -p at the last boundary
	logs       map[int]*steplog.Log
	collects   map[string]chan wire.Target // what is being collected, or was
	notes      map[string]bool             // keys of what was noted
	collecting sync.WaitGroup
	caching    time.Duration // for which close waits for a cache that is to be collected

	changed    chan struct{} // to the runner, capacity 1
	cancelNow  chan struct{} // closed by the first cancel
	terminated chan struct{} // closed by SIGTERM
	quiet      chan struct{} // closed when no process of the steps is left, and none will be started
	ctx        context.Context
	stop       context.CancelFunc
}

// step is one of the queue.
type step struct {
	spec  *wire.Step
	state string // queued, running, finished, skipped
	// Of a finished one:
	reason, message string

	verdict chan wire.Verdict // of kind operator
}

// New makes everything that needs no `open` in dir, which must exist.
func New(dir, kit, cgroupDir string, r *proc.Reaper, c *steplog.Console, wake func(), listen func() error) (*Session, error) {
	for _, name := range sessionDirs {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	j, err := journal.New(filepath.Join(dir, "journal"), wake)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Session{
		dir: dir, kit: kit, Journal: j, reaper: r, console: c, listen: listen,
		out:        steplog.NewOutput(c, wake),
		uploads:    store.NewUploads(ctx, j),
		cgroup:     proc.OpenCgroup(cgroupDir),
		byOrdinal:  map[int]*step{},
		logs:       map[int]*steplog.Log{},
		collects:   map[string]chan wire.Target{},
		notes:      map[string]bool{},
		changed:    make(chan struct{}, 1),
		cancelNow:  make(chan struct{}),
		terminated: make(chan struct{}),
		quiet:      make(chan struct{}),
		ctx:        ctx,
		stop:       stop,
	}
	read, write, err := pipe.Output()
	if err != nil {
		return nil, err
	}
	s.pipeEnd = write
	if s.pipe, err = pipe.New(read, s.out.Take); err != nil {
		return nil, err
	}
	if s.status, err = shell.NewStatus(filepath.Join(dir, "status")); err != nil {
		return nil, err
	}
	go s.pipe.Run()
	return s, nil
}

func (s *Session) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// doOpen carries out `open`. The first one prepares the box; a later one for the same attempt refreshes secrets.
func (s *Session) doOpen(m *wire.Open) error {
	s.opening.Lock()
	defer s.opening.Unlock()
	m.SetDefaults()
	s.mu.Lock()
	was, ended := s.open, s.ended
	s.mu.Unlock()
	switch {
	case m.Build == "" || m.Attempt < 1:
		return wire.Refuse("InvalidRequest", "open needs build and an attempt from 1 on")
	case was != nil && (was.Build != m.Build || was.Attempt != m.Attempt):
		return wire.Refuse("AlreadyOpen", "this box runs attempt %d of build %s", was.Attempt, was.Build)
	case was != nil:
		s.refresh(m) // also while close waits for an upload's new URL
		return nil
	case ended:
		return wire.Refuse("Closed", "the session has ended")
	}
	env := literalEnv(os.Environ(), m.Env)
	restored := s.placeCache(m.Cache) // while everything else is copied
	err := prepare(m.Prepare.Dirs, m.Prepare.Copies)
	found := <-restored
	if err != nil {
		return wire.Refuse("PrepareFailed", "%v", err)
	}
	if slices.ContainsFunc(m.Services, func(each wire.Service) bool { return each.Hosts }) {
		if err := services.AddHosts(services.HostsFile, m.Services); err != nil {
			s.console.Line("--- sentinel: cannot add services to %s: %v", services.HostsFile, err)
		} else {
			go services.KeepHosts(s.ctx, services.HostsFile, m.Services)
		}
	}
	path, args, err := shell.Find(m.Shell, env)
	s.refresh(m)
	s.mu.Lock()
	s.open, s.opened, s.env = m, time.Now(), env
	s.shellPath, s.shellArgs, s.shellError = path, args, err
	s.mu.Unlock()
	s.Journal.Append(time.Now(), "opened",
		wire.OpenedRecord{Build: m.Build, Attempt: m.Attempt, Plan: m.Plan, Shell: path})
	if found != nil {
		s.Journal.Append(time.Now(), "cache", *found)
		s.noteCache(found)
	}
	s.poke()
	return nil
}

// refresh takes new masks, URLs and certificates. Masks are only ever added: an old secret stays one.
func (s *Session) refresh(m *wire.Open) {
	client := store.NewClient(s.kit, m.CA, m.Proxy)
	s.mu.Lock()
	known := map[string]bool{}
	for _, value := range s.values {
		known[string(value)] = true
	}
	fresh := false
	for _, value := range m.Masks {
		if !known[string(value)] {
			s.values = append(s.values, value)
			known[string(value)] = true
			fresh = true
		}
	}
	if fresh {
		s.masks = mask.NewSet(s.values)
	}
	masks := s.masks
	s.client = client
	s.mu.Unlock()
	s.uploads.Expect(m.Store)
	s.pipe.Hold(func() { s.out.SetMasks(masks) })
	s.uploads.Refresh(m.Uploads, client)
}

// doStart queues steps; those that were queued before are left alone.
func (s *Session) doStart(m *wire.Start) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return wire.Refuse("NotOpen", "start before open")
	}
	var fresh []*wire.Step
	seen := map[int]bool{}
	for _, spec := range m.Steps {
		if err := spec.Check(); err != nil {
			return wire.Refuse("InvalidRequest", "%v", err)
		}
		if s.byOrdinal[spec.Ordinal] != nil || seen[spec.Ordinal] {
			continue
		}
		seen[spec.Ordinal] = true
		switch {
		case s.closing || s.ended:
			return wire.Refuse("Closed", "step %q came after close", spec.ID)
		case spec.Phase == wire.PhaseMain && s.mainOver:
			return wire.Refuse("MainOver", "step %q of the main phase came after the after-steps began", spec.ID)
		}
		fresh = append(fresh, spec)
	}
	if m.Result != nil {
		s.result = m.Result
	}
	for _, spec := range fresh {
		each := &step{spec: spec, state: "queued", verdict: make(chan wire.Verdict, 1)}
		s.steps = append(s.steps, each)
		s.byOrdinal[spec.Ordinal] = each
		s.Journal.Append(time.Now(), "queued",
			wire.QueuedRecord{Ordinal: spec.Ordinal, ID: spec.ID, Phase: spec.Phase})
	}
	s.poke()
	return nil
}

// doCancel stops what runs and skips what is queued. A second cancel changes nothing.
func (s *Session) doCancel(m *wire.Cancel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancelled != nil || s.ended {
		return nil
	}
	s.cancelled = m
	s.Journal.Append(time.Now(), "cancelled", wire.CancelledRecord{Reason: m.Reason, After: m.After})
	close(s.cancelNow)
	s.poke()
	return nil
}

// Terminate is for SIGTERM. It is journaled before anything is stopped: an eviction for a limit of the pod's own leaves
// one second, and whoever reads the box's output from its node must know at once.
func (s *Session) Terminate() {
	s.Journal.Append(time.Now(), "stopping", wire.StoppingRecord{Signal: "SIGTERM"})
	close(s.terminated)
}

func (s *Session) doClose() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.poke()
	return nil
}

// doUpload says where a finished log or a packed archive goes.
func (s *Session) doUpload(m *wire.Upload) error {
	s.mu.Lock()
	urls, client, opened := s.collects[m.What], s.client, s.open != nil
	s.mu.Unlock()
	switch {
	case !opened:
		return wire.Refuse("NotOpen", "upload before open")
	case m.What == "" || m.URL == "":
		return wire.Refuse("InvalidRequest", "upload needs what and url")
	case urls != nil:
		select {
		case urls <- m.Target:
		default: // it has one
		}
		return nil
	}
	s.uploads.Refresh(map[string]wire.Target{m.What: m.Target}, client)
	return nil
}

// doVerdict ends the running step of kind operator. One that has ended already stays as it is.
func (s *Session) doVerdict(m *wire.Verdict) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	each := s.byOrdinal[m.Ordinal]
	switch {
	case each == nil || each.spec.Kind != wire.KindOperator:
		return wire.Refuse("InvalidRequest", "step %d is not one of the operator's", m.Ordinal)
	case each.state == "queued":
		return wire.Refuse("NotRunning", "step %d has not started", m.Ordinal)
	case each.state == "running":
		select {
		case each.verdict <- *m:
		default: // it has one
		}
	}
	return nil
}

const noteMax = 16 << 10

// doNote puts a text into the build's log, masked as everything there: what a service said before it died. Only the
// operator sees the other containers.
func (s *Session) doNote(m *wire.Note) error {
	s.mu.Lock()
	known, opened := s.notes[m.Key], s.open != nil
	if opened {
		s.notes[m.Key] = true
	}
	s.mu.Unlock()
	switch {
	case !opened:
		return wire.Refuse("NotOpen", "note before open")
	case m.Key == "":
		return wire.Refuse("InvalidRequest", "note needs a key")
	case known:
		return nil
	}
	text := m.Text[:min(len(m.Text), noteMax)]
	s.pipe.Hold(func() { s.out.Note([]byte(text)) })
	return nil
}

const environmentMax = 1 << 20 // as much as the operator gives a build

// environment is what the last step exported, read back by a shell of its own: only a shell understands what a shell
// wrote. Values that are no UTF-8 are not told exactly.
func (s *Session) environment() ([][2]string, error) {
	s.mu.Lock()
	env, dump, path, args := s.env, s.dump, s.shellPath, s.shellArgs
	opened := s.open != nil
	s.mu.Unlock()
	if !opened {
		return nil, wire.Refuse("NotOpen", "environment before open")
	}
	pairs := env
	if dump != nil {
		if path == "" {
			return nil, wire.Refuse("NoShell", "%v", s.shellError)
		}
		out, err := s.readBack(append([]string{path}, args...), env, dump)
		if err != nil {
			return nil, wire.Refuse("NoShell", "reading the environment back: %v", err)
		}
		pairs = strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var result [][2]string
	size := 0
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if found && name != "_" && name != "SHLVL" {
			if size += len(pair) + 1; size > environmentMax {
				return nil, wire.Refuse("EnvironmentTooLarge", "the steps export more than %d bytes", environmentMax)
			}
			result = append(result, [2]string{name, value})
		}
	}
	return result, nil
}

func (s *Session) readBack(shell, env []string, dump []byte) ([]byte, error) {
	file := filepath.Join(s.dir, "spool", nonce.New())
	if err := safefile.Write(file, dump, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append(shell[:len(shell):len(shell)], "-c", `\command . "$0" 2>/dev/null; \command exec "$1" env`, file, self)
	return s.reaper.Capture(shell[0], argv, env)
}

// result says what the after-steps are told of the main phase.
func (s *Session) resultEnv() [][2]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	result := s.result
	if result == nil {
		result = &wire.Result{Result: "passed"}
		if failed := s.failed(); failed != nil {
			result = &wire.Result{
				Result:                "failed",
				FailedStepDisplayName: failed.spec.DisplayName,
				FailedStepMessage:     failed.message,
			}
		} else if s.cancelled != nil {
			result = &wire.Result{Result: "failed", FailedStepMessage: s.cancelled.Reason}
		}
	}
	env := [][2]string{{"WERCKER_RESULT", result.Result}}
	if result.Result != "passed" {
		env = append(env,
			[2]string{"WERCKER_FAILED_STEP_DISPLAY_NAME", result.FailedStepDisplayName},
			[2]string{"WERCKER_FAILED_STEP_MESSAGE", result.FailedStepMessage})
	}
	return env
}

// failed is the step that failed the main phase, or nil. s.mu is held.
func (s *Session) failed() *step {
	i := slices.IndexFunc(s.steps, func(each *step) bool {
		return each.spec.Phase == wire.PhaseMain && each.state == "finished" && each.reason != "Passed"
	})
	if i < 0 {
		return nil
	}
	return s.steps[i]
}

// Build is whose session it is, if it was opened.
func (s *Session) Build() (uid string, attempt int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return "", 0
	}
	return s.open.Build, s.open.Attempt
}

// Followed are the logs of the steps that began, by ordinal.
func (s *Session) Followed() map[int]*steplog.Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.logs)
}

// Run runs the session's steps until it is closed or terminated, and returns the exit code of boxkit.
func (s *Session) Run() int { return (&runner{Session: s}).run() }

// mask is text as anybody may read it.
func (s *Session) mask(text string) string {
	s.mu.Lock()
	masks := s.masks
	s.mu.Unlock()
	if masks == nil {
		return text
	}
	return string(masks.Once([]byte(text)))
}

// short is text as it may stand in a record: masked, valid UTF-8, and not long.
func (s *Session) short(text string) string {
	text = strings.ToValidUTF8(s.mask(text), "\uFFFD")
	if len(text) > wire.MessageMax {
		cut := wire.MessageMax - len("…")
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return text
}

// Handle carries out one request and returns its answer, framed.
func (s *Session) Handle(kind string, id int64, message []byte) []byte {
	var err error
	switch kind {
	case "open":
		m := &wire.Open{}
		if err = wire.Decode(message, m); err == nil {
			err = s.doOpen(m)
		}
	case "start":
		m := &wire.Start{}
		if err = wire.Decode(message, m); err == nil {
			err = s.doStart(m)
		}
	case "cancel":
		m := &wire.Cancel{}
		if err = wire.Decode(message, m); err == nil {
			err = s.doCancel(m)
		}
	case "collect":
		m := &wire.Collect{}
		if err = wire.Decode(message, m); err == nil {
			err = s.doCollect(m)
		}
	case "upload":
		m := &wire.Upload{}
		if err = wire.Decode(message, m); err == nil {
			err = s.doUpload(m)
		}
	case "note":
		m := &wire.Note{}
		if err = wire.Decode(message, m); err == nil {
			err = s.doNote(m)
		}
	case "verdict":
		m := &wire.Verdict{}
		if err = wire.Decode(message, m); err == nil {
			err = s.doVerdict(m)
		}
	case "close":
		err = s.doClose()
	case "environment":
		var env [][2]string
		if env, err = s.environment(); err == nil {
			return wire.Encode(wire.Environment{Type: "environment", ID: id, Env: env})
		}
	default:
		err = wire.Refuse("InvalidRequest", "unknown type %q", kind)
	}
	if err == nil {
		return wire.Encode(wire.OK{Type: "ok", ID: id})
	}
	var refused *wire.Refusal
	if !errors.As(err, &refused) {
		refused = wire.Refuse("InvalidRequest", "%v", err)
	}
	return wire.Encode(wire.Error{Type: "error", ID: id, Code: refused.Code, Text: s.short(refused.Text)})
}
