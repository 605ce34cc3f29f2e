package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// session is one attempt of a build: what was asked (this file) and the goroutine that runs it (runner.go).
// Requests may come twice and from several attaches; each of them first looks whether it was done before.
type session struct {
	dir     string
	kit     string
	journal *journal
	reaper  *reaper
	console *console
	wake    func()
	listen  func() error // makes the control socket again where it is not ours any more

	out     *output
	pipe    *source // feeds out
	pipeEnd *os.File
	answers *answers
	fifo    *source // the runner alone replaces it
	olds    []*source
	stray   *os.File // a file that a shell made in the place of the FIFO
	uploads *uploads
	cgroup  *cgroup

	opening sync.Mutex // one open at a time: it may copy for long

	mu         sync.Mutex
	open       *openMessage
	opened     time.Time
	env        []string // literal
	shellPath  string
	shellArgs  []string
	shellError error
	client     *http.Client
	masks      *maskSet
	values     [][]byte
	steps      []*step
	byOrdinal  map[int]*step
	result     *resultSpec
	cancelled  *cancelMessage
	mainOver   bool
	closing    bool
	ended      bool
	dump       []byte // export -p at the last boundary
	logs       map[int]*stepLog
	collects   map[string]chan upload // what is being collected, or was
	notes      map[string]bool        // keys of what was noted
	collecting sync.WaitGroup

	changed    chan struct{} // to the runner, capacity 1
	cancelNow  chan struct{} // closed by the first cancel
	terminated chan struct{} // closed by SIGTERM
	ctx        context.Context
	stop       context.CancelFunc
}

// step is one of the queue.
type step struct {
	spec  *stepSpec
	state string // queued, running, finished, skipped
	// Of a finished one:
	reason, message string

	verdict chan verdictMessage // of kind operator
}

// newSession makes everything that needs no `open` in dir, which must exist.
func newSession(dir, kit, cgroupDir string, r *reaper, c *console, wake func()) (*session, error) {
	for _, name := range sessionDirs {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	j, err := newJournal(filepath.Join(dir, "journal"), wake)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &session{
		dir: dir, kit: kit, journal: j, reaper: r, console: c, wake: wake,
		out:        &output{console: c, wake: wake},
		answers:    newAnswers(),
		uploads:    newUploads(ctx, j),
		cgroup:     openCgroup(cgroupDir),
		byOrdinal:  map[int]*step{},
		logs:       map[int]*stepLog{},
		collects:   map[string]chan upload{},
		notes:      map[string]bool{},
		changed:    make(chan struct{}, 1),
		cancelNow:  make(chan struct{}),
		terminated: make(chan struct{}),
		ctx:        ctx,
		stop:       stop,
	}
	read, write, err := outputPipe()
	if err != nil {
		return nil, err
	}
	s.pipeEnd = write
	if s.pipe, err = newSource(read, s.out.take); err != nil {
		return nil, err
	}
	fifo, err := openFIFO(s.fifoPath())
	if err != nil {
		return nil, err
	}
	if s.fifo, err = newSource(fifo, s.answers.take); err != nil {
		return nil, err
	}
	go s.pipe.run()
	go s.fifo.run()
	return s, nil
}

func (s *session) fifoPath() string { return filepath.Join(s.dir, "status") }

func (s *session) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// doOpen carries out `open`. The first one prepares the box; a later one for the same attempt refreshes secrets.
func (s *session) doOpen(m *openMessage) error {
	s.opening.Lock()
	defer s.opening.Unlock()
	m.setDefaults()
	s.mu.Lock()
	was, ended := s.open, s.ended
	s.mu.Unlock()
	switch {
	case m.Build == "" || m.Attempt < 1:
		return refuse("InvalidRequest", "open needs build and an attempt from 1 on")
	case was != nil && (was.Build != m.Build || was.Attempt != m.Attempt):
		return refuse("AlreadyOpen", "this box runs attempt %d of build %s", was.Attempt, was.Build)
	case was != nil:
		s.refresh(m) // also while close waits for an upload's new URL
		return nil
	case ended:
		return refuse("Closed", "the session has ended")
	}
	env := literalEnv(os.Environ(), m.Env)
	if err := prepare(m.Prepare.Dirs, m.Prepare.Copies); err != nil {
		return refuse("PrepareFailed", "%v", err)
	}
	if slices.ContainsFunc(m.Services, func(each service) bool { return each.Hosts }) {
		if err := addHosts(hostsFile, m.Services); err != nil {
			s.console.line("--- sentinel: cannot add services to %s: %v", hostsFile, err)
		} else {
			go keepHosts(s.ctx, hostsFile, m.Services)
		}
	}
	path, args, err := findShell(m.Shell, env)
	s.refresh(m)
	s.mu.Lock()
	s.open, s.opened, s.env = m, time.Now(), env
	s.shellPath, s.shellArgs, s.shellError = path, args, err
	s.mu.Unlock()
	s.journal.append(time.Now(), "opened",
		openedRecord{Build: m.Build, Attempt: m.Attempt, Plan: m.Plan, Shell: path})
	s.poke()
	return nil
}

// refresh takes new masks, URLs and certificates. Masks are only ever added: an old secret stays one.
func (s *session) refresh(m *openMessage) {
	client := newClient(s.kit, m.CA, m.Proxy)
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
		s.masks = newMaskSet(s.values)
	}
	masks := s.masks
	s.client = client
	s.mu.Unlock()
	s.uploads.expect(m.Store)
	s.pipe.mu.Lock()
	s.out.mask.set = masks
	s.pipe.mu.Unlock()
	s.uploads.refresh(m.Uploads, client)
}

// literalEnv is the image's environment with the build's laid over it, in order; what is boxkit's own is left out.
func literalEnv(base []string, over [][2]string) []string {
	at := map[string]int{}
	var env []string
	set := func(name, value string) {
		if strings.HasPrefix(name, "SENTINEL_") || name == "" || strings.ContainsAny(name, "=\x00") {
			return
		}
		pair := name + "=" + strings.ReplaceAll(value, "\x00", "")
		if i, found := at[name]; found {
			env[i] = pair
			return
		}
		at[name] = len(env)
		env = append(env, pair)
	}
	for _, pair := range base {
		name, value, _ := strings.Cut(pair, "=")
		set(name, value)
	}
	for _, pair := range over {
		set(pair[0], pair[1])
	}
	return env
}

// doStart queues steps; those that were queued before are left alone.
func (s *session) doStart(m *startMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return refuse("NotOpen", "start before open")
	}
	var fresh []*stepSpec
	seen := map[int]bool{}
	for _, spec := range m.Steps {
		if err := spec.check(); err != nil {
			return refuse("InvalidRequest", "%v", err)
		}
		if s.byOrdinal[spec.Ordinal] != nil || seen[spec.Ordinal] {
			continue
		}
		seen[spec.Ordinal] = true
		switch {
		case s.closing || s.ended:
			return refuse("Closed", "step %q came after close", spec.ID)
		case spec.Phase == phaseMain && s.mainOver:
			return refuse("MainOver", "step %q of the main phase came after the after-steps began", spec.ID)
		}
		fresh = append(fresh, spec)
	}
	if m.Result != nil {
		s.result = m.Result
	}
	for _, spec := range fresh {
		each := &step{spec: spec, state: "queued", verdict: make(chan verdictMessage, 1)}
		s.steps = append(s.steps, each)
		s.byOrdinal[spec.Ordinal] = each
		s.journal.append(time.Now(), "queued",
			queuedRecord{Ordinal: spec.Ordinal, ID: spec.ID, Phase: spec.Phase})
	}
	s.poke()
	return nil
}

// doCancel stops what runs and skips what is queued. A second cancel changes nothing.
func (s *session) doCancel(m *cancelMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancelled != nil || s.ended {
		return nil
	}
	s.cancelled = m
	s.journal.append(time.Now(), "cancelled", cancelledRecord{Reason: m.Reason, After: m.After})
	close(s.cancelNow)
	s.poke()
	return nil
}

// terminate is for SIGTERM. It is journaled before anything is stopped: an eviction for a limit of the pod's own leaves
// one second, and whoever reads the box's output from its node must know at once.
func (s *session) terminate() {
	s.journal.append(time.Now(), "stopping", stoppingRecord{Signal: "SIGTERM"})
	close(s.terminated)
}

func (s *session) doClose() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.poke()
	return nil
}

// doUpload says where a finished log or a packed archive goes.
func (s *session) doUpload(m *uploadMessage) error {
	s.mu.Lock()
	urls, client, opened := s.collects[m.What], s.client, s.open != nil
	s.mu.Unlock()
	switch {
	case !opened:
		return refuse("NotOpen", "upload before open")
	case m.What == "" || m.URL == "":
		return refuse("InvalidRequest", "upload needs what and url")
	case urls != nil:
		select {
		case urls <- m.upload:
		default: // it has one
		}
		return nil
	}
	s.uploads.refresh(map[string]upload{m.What: m.upload}, client)
	return nil
}

// doVerdict ends the running step of kind operator. One that has ended already stays as it is.
func (s *session) doVerdict(m *verdictMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	each := s.byOrdinal[m.Ordinal]
	switch {
	case each == nil || each.spec.Kind != kindOperator:
		return refuse("InvalidRequest", "step %d is not one of the operator's", m.Ordinal)
	case each.state == "queued":
		return refuse("NotRunning", "step %d has not started", m.Ordinal)
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
func (s *session) doNote(m *noteMessage) error {
	s.mu.Lock()
	known, opened := s.notes[m.Key], s.open != nil
	if opened {
		s.notes[m.Key] = true
	}
	s.mu.Unlock()
	switch {
	case !opened:
		return refuse("NotOpen", "note before open")
	case m.Key == "":
		return refuse("InvalidRequest", "note needs a key")
	case known:
		return nil
	}
	text := m.Text[:min(len(m.Text), noteMax)]
	s.pipe.mu.Lock()
	defer s.pipe.mu.Unlock()
	s.out.note([]byte(text))
	return nil
}

const environmentMax = 1 << 20 // as much as the operator gives a build

// environment is what the last step exported, read back by a shell of its own: only a shell understands what a shell
// wrote. Values that are no UTF-8 are not told exactly.
func (s *session) environment() ([][2]string, error) {
	s.mu.Lock()
	env, dump, path, args := s.env, s.dump, s.shellPath, s.shellArgs
	opened := s.open != nil
	s.mu.Unlock()
	if !opened {
		return nil, refuse("NotOpen", "environment before open")
	}
	pairs := env
	if dump != nil {
		if path == "" {
			return nil, refuse("NoShell", "%v", s.shellError)
		}
		out, err := s.readBack(append([]string{path}, args...), env, dump)
		if err != nil {
			return nil, refuse("NoShell", "reading the environment back: %v", err)
		}
		pairs = strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var result [][2]string
	size := 0
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if found && name != "_" && name != "SHLVL" {
			if size += len(pair) + 1; size > environmentMax {
				return nil, refuse("EnvironmentTooLarge", "the steps export more than %d bytes", environmentMax)
			}
			result = append(result, [2]string{name, value})
		}
	}
	return result, nil
}

func (s *session) readBack(shell, env []string, dump []byte) ([]byte, error) {
	file := filepath.Join(s.dir, "spool", newNonce())
	if err := writeNew(file, dump, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append(shell[:len(shell):len(shell)], "-c", `\command . "$0" 2>/dev/null; \command exec "$1" env`, file, self)
	return s.reaper.capture(shell[0], argv, env)
}

// result says what the after-steps are told of the main phase.
func (s *session) resultEnv() [][2]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	result := s.result
	if result == nil {
		result = &resultSpec{Result: "passed"}
		if failed := s.failed(); failed != nil {
			result = &resultSpec{
				Result:                "failed",
				FailedStepDisplayName: failed.spec.DisplayName,
				FailedStepMessage:     failed.message,
			}
		} else if s.cancelled != nil {
			result = &resultSpec{Result: "failed", FailedStepMessage: s.cancelled.Reason}
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
func (s *session) failed() *step {
	i := slices.IndexFunc(s.steps, func(each *step) bool {
		return each.spec.Phase == phaseMain && each.state == "finished" && each.reason != "Passed"
	})
	if i < 0 {
		return nil
	}
	return s.steps[i]
}

// mask is text as anybody may read it.
func (s *session) mask(text string) string {
	s.mu.Lock()
	masks := s.masks
	s.mu.Unlock()
	if masks == nil {
		return text
	}
	return string(masks.once([]byte(text)))
}

// short is text as it may stand in a record: masked, valid UTF-8, and not long.
func (s *session) short(text string) string {
	text = strings.ToValidUTF8(s.mask(text), "\uFFFD")
	if len(text) > messageMax {
		cut := messageMax - len("…")
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return text
}

// handle carries out one request and returns its answer, framed.
func (s *session) handle(kind string, id int64, message []byte) []byte {
	var err error
	switch kind {
	case "open":
		m := &openMessage{}
		if err = decode(message, m); err == nil {
			err = s.doOpen(m)
		}
	case "start":
		m := &startMessage{}
		if err = decode(message, m); err == nil {
			err = s.doStart(m)
		}
	case "cancel":
		m := &cancelMessage{}
		if err = decode(message, m); err == nil {
			err = s.doCancel(m)
		}
	case "collect":
		m := &collectMessage{}
		if err = decode(message, m); err == nil {
			err = s.doCollect(m)
		}
	case "upload":
		m := &uploadMessage{}
		if err = decode(message, m); err == nil {
			err = s.doUpload(m)
		}
	case "note":
		m := &noteMessage{}
		if err = decode(message, m); err == nil {
			err = s.doNote(m)
		}
	case "verdict":
		m := &verdictMessage{}
		if err = decode(message, m); err == nil {
			err = s.doVerdict(m)
		}
	case "close":
		err = s.doClose()
	case "environment":
		var env [][2]string
		if env, err = s.environment(); err == nil {
			return encode(environmentReply{Type: "environment", ID: id, Env: env})
		}
	default:
		err = refuse("InvalidRequest", "unknown type %q", kind)
	}
	if err == nil {
		return encode(okReply{Type: "ok", ID: id})
	}
	var refused *refusal
	if !errors.As(err, &refused) {
		refused = refuse("InvalidRequest", "%v", err)
	}
	return encode(errorReply{Type: "error", ID: id, Code: refused.code, Text: s.short(refused.text)})
}
