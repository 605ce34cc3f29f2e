package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	urlWithin = 5 * time.Minute  // for the URL of an archive that is packed
	putWithin = 30 * time.Minute // for an archive
)

// doCollect begins to collect, unless that is done or under way.
func (s *session) doCollect(m *collectMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.open == nil:
		return refuse("NotOpen", "collect before open")
	case m.What == "" || m.Path == "":
		return refuse("InvalidRequest", "collect needs what and path")
	case s.collects[m.What] != nil:
		return nil
	case s.ended:
		return refuse("Closed", "the session has ended")
	}
	urls := make(chan upload, 1)
	if m.URL != "" {
		urls <- upload{URL: m.URL, Headers: m.Headers}
	}
	s.collects[m.What] = urls
	s.collecting.Add(1)
	client := s.client
	go func() {
		defer s.collecting.Done()
		kind, record := s.collect(client, m, urls)
		if kind != "collected" {
			s.mu.Lock()
			delete(s.collects, m.What)
			s.mu.Unlock()
		}
		s.journal.append(time.Now(), kind, record)
	}()
	return nil
}

// collect packs a path and puts it where the operator says. The archive lies in the session's directory, never in the
// image, and has no name there.
func (s *session) collect(client *http.Client, m *collectMessage, urls <-chan upload) (kind string, record any) {
	fail := func(reason, text string) (string, any) {
		return "collect-failed", collectFailedRecord{What: m.What, Path: m.Path, Reason: reason, Text: s.short(text)}
	}
	spool, packed, err := s.packed(m)
	if err != nil {
		switch {
		case errors.Is(err, errTooLarge):
			return fail("TooLarge", fmt.Sprintf("%s packs to more than %d bytes", m.Path, m.Limit))
		case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP):
			return fail("Unreadable", fmt.Sprintf("%v, for user %d", err, os.Geteuid()))
		}
		return fail("ReadFailed", err.Error())
	}
	defer spool.Close()
	packed.What, packed.Path, packed.Notice = m.What, m.Path, s.short(packed.Notice)
	if packed.Empty {
		return "collected", packed
	}
	if m.URL == "" {
		s.journal.append(time.Now(), "packed", packedRecord{What: m.What, Bytes: packed.Bytes, SHA256: packed.SHA256})
	}
	var to upload
	select {
	case to = <-urls:
	case <-time.After(urlWithin):
		return fail("Unreachable", fmt.Sprintf("no URL to put it to within %s", urlWithin))
	case <-s.ctx.Done():
		return fail("Unreachable", "the box ends")
	}
	ctx, cancel := context.WithTimeout(s.ctx, putWithin)
	defer cancel()
	err = put(ctx, client, to, content{file: spool, size: packed.Bytes})
	var refused *putError
	switch {
	case errors.As(err, &refused):
		return fail("Refused", refused.Error())
	case err != nil:
		return fail("Unreachable", err.Error())
	}
	return "collected", packed
}

// packed is the archive, in a file without a name.
func (s *session) packed(m *collectMessage) (*os.File, collectedRecord, error) {
	dir := filepath.Join(s.dir, "spool")
	if err := ensureDir(dir); err != nil {
		return nil, collectedRecord{}, err
	}
	path := filepath.Join(dir, newNonce())
	spool, err := createNew(path, 0o600)
	if err != nil {
		return nil, collectedRecord{}, err
	}
	_ = os.Remove(path)
	record, err := pack(m.Path, spool, m.Limit, m.Gzip)
	if err != nil {
		spool.Close()
		return nil, collectedRecord{}, err
	}
	return spool, record, nil
}
