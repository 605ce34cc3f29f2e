package session

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

	"sentinel.wercker.com/boxkit/internal/nonce"
	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/store"
	"sentinel.wercker.com/boxkit/internal/tree"
	"sentinel.wercker.com/boxkit/internal/wire"
)

const (
	urlWithin = 5 * time.Minute  // for the URL of an archive that is packed
	putWithin = 30 * time.Minute // for an archive
)

// doCollect begins to collect, unless that is done or under way.
func (s *Session) doCollect(m *wire.Collect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.open == nil:
		return wire.Refuse("NotOpen", "collect before open")
	case m.What == "" || m.Path == "":
		return wire.Refuse("InvalidRequest", "collect needs what and path")
	case s.collects[m.What] != nil:
		return nil
	case s.ended:
		return wire.Refuse("Closed", "the session has ended")
	}
	if m.Cache {
		s.caching = m.Seconds.Duration()
	}
	urls := make(chan wire.Target, 1)
	if m.URL != "" {
		urls <- wire.Target{URL: m.URL, Headers: m.Headers}
	}
	s.collects[m.What] = urls
	s.collecting.Add(1)
	client := s.client
	go func() {
		defer s.collecting.Done()
		collect := s.collect
		if m.Cache {
			collect = s.collectCache
		}
		kind, record := collect(client, m, urls)
		if kind != "collected" {
			s.mu.Lock()
			delete(s.collects, m.What)
			s.mu.Unlock()
		}
		s.Journal.Append(time.Now(), kind, record)
	}()
	return nil
}

// collect packs a path and puts it where the operator says. The archive lies in the session's directory, never in the
// image, and has no name there.
func (s *Session) collect(client *http.Client, m *wire.Collect, urls <-chan wire.Target) (kind string, record any) {
	fail := func(reason, text string) (string, any) {
		return "collect-failed", wire.CollectFailedRecord{What: m.What, Path: m.Path, Reason: reason, Text: s.short(text)}
	}
	spool, packed, err := s.packed(m)
	if err != nil {
		switch {
		case errors.Is(err, tree.ErrTooLarge):
			return fail("TooLarge", fmt.Sprintf("%s packs to more than %d bytes", m.Path, m.Limit))
		case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP):
			return fail("Unreadable", fmt.Sprintf("%v, for user %d", err, os.Geteuid()))
		}
		return fail("ReadFailed", err.Error())
	}
	defer spool.Close()
	collected := wire.CollectedRecord{
		What: m.What, Path: m.Path, Empty: packed.Empty, Files: packed.Files, Bytes: packed.Bytes,
		SHA256: packed.SHA256, Notice: s.short(packed.Notice),
	}
	if packed.Empty {
		return "collected", collected
	}
	ctx, cancel := context.WithTimeout(s.ctx, putWithin)
	defer cancel()
	if reason, text := s.put(ctx, client, m, urls, spool, packed.Bytes, packed.SHA256); reason != "" {
		return fail(reason, text)
	}
	return "collected", collected
}

// put puts an archive where the operator says when it knows how large it is. It returns why it could not.
func (s *Session) put(ctx context.Context, client *http.Client, m *wire.Collect, urls <-chan wire.Target,
	spool *os.File, size int64, sha256 string) (reason, text string) {
	if m.URL == "" {
		s.Journal.Append(time.Now(), "packed", wire.PackedRecord{What: m.What, Bytes: size, SHA256: sha256})
	}
	var to wire.Target
	select {
	case to = <-urls:
	case <-time.After(urlWithin):
		return "Unreachable", fmt.Sprintf("no URL to put it to within %s", urlWithin)
	case <-s.ctx.Done():
		return "Unreachable", "the box ends"
	case <-ctx.Done():
		return "Unreachable", "no URL to put it to in time"
	}
	err := store.Put(ctx, client, to, store.Content{File: spool, Size: size})
	var refused *store.Refusal
	switch {
	case errors.As(err, &refused):
		return "Refused", refused.Error()
	case err != nil:
		return "Unreachable", err.Error()
	}
	return "", ""
}

// packed is the archive, in a file without a name.
func (s *Session) packed(m *wire.Collect) (*os.File, tree.Packed, error) {
	spool, err := s.spool()
	if err != nil {
		return nil, tree.Packed{}, err
	}
	record, err := tree.Pack(m.Path, spool, m.Limit, m.Gzip)
	if err != nil {
		spool.Close()
		return nil, tree.Packed{}, err
	}
	return spool, record, nil
}

// spool is a new file without a name in the session's directory.
func (s *Session) spool() (*os.File, error) {
	dir := filepath.Join(s.dir, "spool")
	if err := safefile.EnsureDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, nonce.New())
	spool, err := safefile.Create(path, 0o600)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(path)
	return spool, nil
}
