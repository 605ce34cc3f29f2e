package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sentinel.wercker.com/boxkit/internal/cache"
	"sentinel.wercker.com/boxkit/internal/restore"
	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/wire"
)

const (
	cacheIndex  = "cache.index" // what was restored, as it was copied: in the session's directory
	reportMax   = 64 << 10
	copyWithin  = 10 * time.Minute
	longestText = 1 << 10
)

// placeCache copies the cache that the init container has restored to where steps may write it. The record says what
// became of it; nil where nothing was to be restored. It never fails a build: what cannot be copied is not there.
func (s *Session) placeCache(ctx context.Context, m *wire.Cache) <-chan *wire.CacheRecord {
	placed := make(chan *wire.CacheRecord, 1)
	if m == nil {
		placed <- nil
		return placed
	}
	go func() {
		record := s.copyCache(ctx, m)
		if record != nil {
			record.Text = s.secrets.short(record.Text[:min(len(record.Text), longestText)])
		}
		placed <- record
	}()
	return placed
}

// noteCache tells the build's log of a cache that could not be used.
func (s *Session) noteCache(record *wire.CacheRecord) {
	if record.State == restore.Invalid || record.State == restore.Failed {
		s.tap.Note(fmt.Sprintf("cache %s", restore.Report(*record)))
	}
}

func (s *Session) copyCache(ctx context.Context, m *wire.Cache) *wire.CacheRecord {
	if err := empty(m.To); err != nil { // the box's image may have the cache of the build that made it
		return &wire.CacheRecord{State: restore.Failed, Text: fmt.Sprintf("%s cannot be emptied: %v", m.To, err)}
	}
	if m.From == "" {
		return nil
	}
	text, err := safefile.Read(filepath.Join(s.kit, restore.Name), reportMax)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("the init container did not restore it")
	}
	var report restore.Report
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		return &wire.CacheRecord{State: restore.Failed, Text: err.Error()}
	}
	record := wire.CacheRecord(report)
	if report.State != restore.Hit {
		s.console.Line("--- sentinel: cache: %s", report)
		return &record
	}
	began := time.Now()
	if err := s.fill(ctx, m); err != nil {
		_ = empty(m.To)
		s.console.Line("--- sentinel: cache: starts empty: %v", err)
		return &wire.CacheRecord{State: restore.Failed, Text: fmt.Sprintf("it cannot be copied to %s: %v", m.To, err)}
	}
	record.Seconds += time.Since(began).Seconds()
	s.console.Line("--- sentinel: cache: %s", restore.Report(record))
	return &record
}

// fill copies what was restored to an empty directory, and keeps the index for the end of the build.
func (s *Session) fill(ctx context.Context, m *wire.Cache) error {
	file, _, err := safefile.OpenRegular(filepath.Join(s.kit, restore.Index))
	if err != nil {
		return err
	}
	defer file.Close()
	tree, err := cache.ReadIndex(file, cache.Limits{Entries: m.Entries})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, copyWithin)
	defer cancel()
	if err := cache.Copy(ctx, m.From, tree, m.To); err != nil {
		return err
	}
	index, err := safefile.Create(s.files.join(cacheIndex), 0o600)
	if err != nil {
		return err
	}
	return errors.Join(cache.WriteIndex(index, tree), index.Close())
}

// empty makes a directory without anything in it.
func empty(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	names, err := safefile.ReadDir(dir)
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
	}
	return err
}

// collectCache packs the cache once nothing of the steps runs any more, and puts it, unless it is what was restored.
func (c *collector) collectCache(
	ctx context.Context, client *http.Client, m *wire.Collect, restored *wire.Cache, urls <-chan wire.Target,
) wire.Record {
	fail := func(reason wire.CollectReason, text string) wire.Record {
		c.header("--- sentinel: cache: not saved: %s", c.short(text))
		return wire.CollectFailedRecord{What: m.What, Path: m.Path, Reason: reason, Text: c.short(text)}
	}
	select {
	case <-c.quiet:
	case <-ctx.Done():
		return fail(wire.Unreachable, "the box ends")
	}
	ctx, cancel := context.WithTimeout(ctx, m.Seconds.Duration())
	defer cancel()
	dir, err := filepath.EvalSymlinks(m.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return wire.CollectedRecord{What: m.What, Path: m.Path, Empty: true}
	} else if err != nil {
		return fail(wire.ReadFailed, err.Error())
	}
	tree, err := cache.Scan(dir, cache.Limits{Entries: m.Entries})
	switch {
	case errors.Is(err, cache.ErrTooMany):
		return fail(wire.TooLarge, fmt.Sprintf("it holds more than %d files and directories", m.Entries))
	case err != nil:
		return fail(wire.ReadFailed, err.Error())
	}
	collected := wire.CollectedRecord{
		What: m.What, Path: m.Path, Files: tree.Files(), Size: tree.Bytes, Notice: c.short(tree.Left.String()),
	}
	switch {
	case collected.Files == 0:
		collected.Empty = true
		return collected
	case c.isRestored(tree, dir, m, restored):
		collected.Unchanged = true
		return collected
	case m.Limit > 0 && tree.Bytes > m.Limit:
		return fail(wire.TooLarge, fmt.Sprintf("its files have %s, more than %s", cache.Size(tree.Bytes), cache.Size(m.Limit)))
	}
	spool, err := c.spool()
	if err != nil {
		return fail(wire.ReadFailed, err.Error())
	}
	defer spool.Close()
	sum := sha256.New()
	if err := cache.Pack(ctx, io.MultiWriter(spool, sum), dir, tree); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("it was not packed within %s", m.Seconds.Duration())
		}
		return fail(wire.ReadFailed, err.Error())
	}
	info, err := spool.Stat()
	if err != nil {
		return fail(wire.ReadFailed, err.Error())
	}
	collected.Bytes, collected.SHA256 = info.Size(), hex.EncodeToString(sum.Sum(nil))
	if reason, text := c.put(ctx, client, m, urls, spool, collected.Bytes, collected.SHA256); reason != "" {
		return fail(reason, text)
	}
	c.header("--- sentinel: cache: saved %s of %s", cache.Files(collected.Files), cache.Size(collected.Size))
	return collected
}

// isRestored says whether the tree is what placeCache put there.
func (c *collector) isRestored(tree *cache.Tree, dir string, m *wire.Collect, from *wire.Cache) bool {
	if from == nil {
		return false
	}
	file, _, err := safefile.OpenRegular(c.files.join(cacheIndex))
	if err != nil {
		return false
	}
	defer file.Close()
	before, err := cache.ReadIndex(file, cache.Limits{Entries: m.Entries})
	return err == nil && cache.Same(tree, dir, before, from.From)
}
