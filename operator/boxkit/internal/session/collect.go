package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"sync"
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
	putTries  = 3                // URLs for an archive; the operator signs no more (engine/uploads.py)
)

// collector packs paths and puts the archives where the operator wants them. Each archive lies in the session's
// directory, never in the image, and has no name there.
type collector struct {
	journal recorder
	files   *directory
	short   func(string) string
	header  func(format string, args ...any) // a line of our own in the container's log
	quiet   chan struct{}                    // closed when no process of the steps is left, and none will be started

	mu      sync.Mutex
	urls    map[string]chan wire.Target // of what is being collected, or was
	caching time.Duration               // for which the end waits for a cache
	ended   bool
	busy    sync.WaitGroup
}

func newCollector(
	journal recorder, files *directory, short func(string) string, header func(format string, args ...any),
) *collector {
	return &collector{
		journal: journal, files: files, short: short, header: header,
		quiet: make(chan struct{}), urls: map[string]chan wire.Target{},
	}
}

// begin collects, unless that is done or under way. ctx is that of the work, which goes on after begin has returned.
// restored is the cache that the build began with, or nil.
func (c *collector) begin(ctx context.Context, client *http.Client, m *wire.Collect, restored *wire.Cache) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.What == "" || m.Path == "":
		return wire.Refuse("InvalidRequest", "collect needs what and path")
	case c.urls[m.What] != nil:
		return nil
	case c.ended:
		return wire.Refuse("Closed", "the session has ended")
	}
	if m.Cache {
		c.caching = m.Seconds.Duration()
	}
	urls := make(chan wire.Target, 1)
	if m.URL != "" {
		urls <- wire.Target{URL: m.URL, Headers: m.Headers}
	}
	c.urls[m.What] = urls
	c.busy.Go(func() {
		var record wire.Record
		if m.Cache {
			record = c.collectCache(ctx, client, m, restored, urls)
		} else {
			record = c.collect(ctx, client, m, urls)
		}
		if _, done := record.(wire.CollectedRecord); !done {
			c.mu.Lock()
			delete(c.urls, m.What)
			c.mu.Unlock()
		}
		c.journal.Append(time.Now(), record)
	})
	return nil
}

// offer says where something goes that is packed; false if nothing of that name was asked for. It takes the place of an
// earlier URL that was not used yet: that is the one which expires first.
func (c *collector) offer(what string, to wire.Target) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	urls := c.urls[what]
	if urls == nil {
		return false
	}
	select {
	case <-urls:
	default:
	}
	urls <- to // there is room: nobody else sends
	return true
}

// settle says that no process of the steps is left. It returns for how long the end waits for a cache.
func (c *collector) settle() time.Duration {
	close(c.quiet)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.caching
}

// end says that nothing more is collected.
func (c *collector) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// wait returns when nothing is being collected, after end.
func (c *collector) wait() { c.busy.Wait() }

// collect returns the record that says how it went.
func (c *collector) collect(ctx context.Context, client *http.Client, m *wire.Collect, urls <-chan wire.Target) wire.Record {
	fail := func(reason wire.CollectReason, text string) wire.Record {
		return wire.CollectFailedRecord{What: m.What, Path: m.Path, Reason: reason, Text: c.short(text)}
	}
	spool, packed, err := c.pack(m)
	if err != nil {
		switch {
		case errors.Is(err, tree.ErrTooLarge):
			return fail(wire.TooLarge, fmt.Sprintf("%s packs to more than %d bytes", m.Path, m.Limit))
		case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP):
			return fail(wire.Unreadable, fmt.Sprintf("%v, for user %d", err, os.Geteuid()))
		}
		return fail(wire.ReadFailed, err.Error())
	}
	defer spool.Close()
	collected := wire.CollectedRecord{
		What: m.What, Path: m.Path, Empty: packed.Empty, Files: packed.Files, Bytes: packed.Bytes,
		SHA256: packed.SHA256, Notice: c.short(packed.Notice),
	}
	if packed.Empty {
		return collected
	}
	within, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	if reason, text := c.put(within, client, m, urls, spool, packed.Bytes, packed.SHA256); reason != "" {
		return fail(reason, text)
	}
	return collected
}

// put puts an archive where the operator says when it knows how large it is. A URL that the store refuses, most often
// because it has expired, is journaled, and the next one is waited for. It returns why it could not.
func (c *collector) put(ctx context.Context, client *http.Client, m *wire.Collect, urls <-chan wire.Target,
	spool *os.File, size int64, sha256 string) (reason wire.CollectReason, text string) {
	if m.URL == "" {
		c.journal.Append(time.Now(), wire.PackedRecord{What: m.What, Bytes: size, SHA256: sha256})
	}
	var refused *store.Refusal
	for try := 1; ; try++ {
		var to wire.Target
		select {
		case to = <-urls:
		case <-time.After(urlWithin):
			if refused != nil {
				return wire.Refused, refused.Error()
			}
			return wire.Unreachable, fmt.Sprintf("no URL to put it to within %s", urlWithin)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return wire.Unreachable, "no URL to put it to in time"
			}
			return wire.Unreachable, "the box ends"
		}
		err := store.Put(ctx, client, to, store.Content{File: spool, Size: size})
		switch {
		case err == nil:
			return "", ""
		case !errors.As(err, &refused):
			return wire.Unreachable, err.Error()
		case m.URL != "" || try == putTries:
			return wire.Refused, refused.Error()
		}
		record := refused.Record(m.What)
		record.Text = c.short(record.Text)
		c.journal.Append(time.Now(), record)
	}
}

// pack makes the archive, in a file without a name.
func (c *collector) pack(m *wire.Collect) (*os.File, tree.Packed, error) {
	spool, err := c.spool()
	if err != nil {
		return nil, tree.Packed{}, err
	}
	packed, err := tree.Pack(m.Path, spool, m.Limit, m.Gzip)
	if err != nil {
		spool.Close()
		return nil, tree.Packed{}, err
	}
	return spool, packed, nil
}

// spool is a new file without a name in the session's directory.
func (c *collector) spool() (*os.File, error) {
	if err := safefile.EnsureDir(c.files.join("spool")); err != nil {
		return nil, err
	}
	path := c.files.join("spool", nonce.New())
	spool, err := safefile.Create(path, 0o600)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(path)
	return spool, nil
}
