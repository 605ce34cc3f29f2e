package session

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"sentinel.wercker.com/boxkit/internal/services"
	"sentinel.wercker.com/boxkit/internal/store"
	"sentinel.wercker.com/boxkit/internal/wire"
)

const noteMax = 16 << 10

// Handle carries out one request and returns its answer, framed. ctx is that of the process: what a request begins, such
// as an upload, goes on after its answer.
func (s *Session) Handle(ctx context.Context, kind string, id int64, message []byte) []byte {
	var err error
	switch kind {
	case "open":
		err = request(message, func(m *wire.Open) error { return s.open(ctx, m) })
	case "start":
		err = request(message, s.start)
	case "cancel":
		err = request(message, func(m *wire.Cancel) error { s.queue.stop(m); return nil })
	case "collect":
		err = request(message, func(m *wire.Collect) error { return s.collect(ctx, m) })
	case "upload":
		err = request(message, func(m *wire.Upload) error { return s.upload(ctx, m) })
	case "note":
		err = request(message, s.note)
	case "verdict":
		err = request(message, s.queue.judge)
	case "close":
		s.queue.close()
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
	return wire.Encode(wire.Error{Type: "error", ID: id, Code: refused.Code, Text: s.secrets.short(refused.Text)})
}

// request decodes a message and has it carried out.
func request[M any](message []byte, do func(*M) error) error {
	m := new(M)
	if err := wire.Decode(message, m); err != nil {
		return err
	}
	return do(m)
}

// open prepares the box the first time; a later one for the same attempt refreshes secrets.
func (s *Session) open(ctx context.Context, m *wire.Open) error {
	s.opening.Lock()
	defer s.opening.Unlock()
	m.SetDefaults()
	was := s.settled()
	switch {
	case m.Build == "" || m.Attempt < 1:
		return wire.Refuse("InvalidRequest", "open needs build and an attempt from 1 on")
	case was != nil && (was.build != m.Build || was.attempt != m.Attempt):
		return wire.Refuse("AlreadyOpen", "this box runs attempt %d of build %s", was.attempt, was.build)
	case was != nil:
		s.refresh(ctx, m) // also while close waits for an upload's new URL
		return nil
	case s.queue.hasEnded():
		return wire.Refuse("Closed", "the session has ended")
	}
	restored := s.placeCache(ctx, m.Cache) // while everything else is copied
	o, err := s.prepare(ctx, m)
	found := <-restored
	if err != nil {
		return err
	}
	s.refresh(ctx, m)
	o.at = time.Now()
	s.mu.Lock()
	s.opened = o
	s.journal.Append(o.at, wire.OpenedRecord{Build: m.Build, Attempt: m.Attempt, Plan: m.Plan, Shell: o.shell})
	s.mu.Unlock()
	if found != nil {
		s.journal.Append(time.Now(), *found)
		s.noteCache(found)
	}
	s.opens <- o
	return nil
}

// prepare makes what the steps need to be there.
func (s *Session) prepare(ctx context.Context, m *wire.Open) (*opened, error) {
	if err := prepare(m.Prepare.Clear, m.Prepare.Dirs, m.Prepare.Copies); err != nil {
		return nil, wire.Refuse("PrepareFailed", "%v", err)
	}
	if slices.ContainsFunc(m.Services, func(each wire.Service) bool { return each.Hosts }) {
		if err := services.AddHosts(services.HostsFile, m.Services); err != nil {
			s.console.Line("--- sentinel: cannot add services to %s: %v", services.HostsFile, err)
		} else {
			go services.KeepHosts(ctx, services.HostsFile, m.Services)
		}
	}
	return newOpened(m, os.Environ()), nil
}

// refresh takes new masks, URLs and certificates.
func (s *Session) refresh(ctx context.Context, m *wire.Open) {
	client := store.NewClient(s.kit, m.CA, m.Proxy)
	masks := s.secrets.add(m.Masks)
	s.mu.Lock()
	s.client = client
	s.mu.Unlock()
	s.uploads.Expect(m.Store)
	s.tap.SetMasks(masks)
	s.uploads.Refresh(ctx, m.Uploads, client)
}

// start queues steps; those that were queued before are left alone.
func (s *Session) start(m *wire.Start) error {
	if s.settled() == nil {
		return wire.Refuse("NotOpen", "start before open")
	}
	return s.queue.add(m)
}

// collect begins to collect, unless that is done or under way.
func (s *Session) collect(ctx context.Context, m *wire.Collect) error {
	o := s.settled()
	if o == nil {
		return wire.Refuse("NotOpen", "collect before open")
	}
	return s.collector.begin(ctx, s.storeClient(), m, o.cache)
}

// upload says where a finished log or a packed archive goes.
func (s *Session) upload(ctx context.Context, m *wire.Upload) error {
	switch {
	case s.settled() == nil:
		return wire.Refuse("NotOpen", "upload before open")
	case m.What == "" || m.URL == "":
		return wire.Refuse("InvalidRequest", "upload needs what and url")
	case !s.collector.offer(m.What, m.Target):
		s.uploads.Refresh(ctx, map[string]wire.Target{m.What: m.Target}, s.storeClient())
	}
	return nil
}

// note puts a text into the build's log, masked as everything there: what a service printed before it died. Only the
// operator sees the other containers.
func (s *Session) note(m *wire.Note) error {
	s.mu.Lock()
	known, opened := s.notes[m.Key], s.opened != nil
	if opened {
		s.notes[m.Key] = true
	}
	s.mu.Unlock()
	switch {
	case !opened:
		return wire.Refuse("NotOpen", "note before open")
	case m.Key == "":
		return wire.Refuse("InvalidRequest", "note needs a key")
	case !known:
		s.tap.Note(m.Text[:min(len(m.Text), noteMax)])
	}
	return nil
}

func (s *Session) environment() ([][2]string, error) {
	o := s.settled()
	if o == nil {
		return nil, wire.Refuse("NotOpen", "environment before open")
	}
	return environment(o, s.exports.get(), s.files.join("spool"), s.reaper)
}
