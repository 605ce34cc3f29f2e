package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"sentinel.wercker.com/boxkit/internal/journal"
	"sentinel.wercker.com/boxkit/internal/wire"
)

const (
	uploadsAtOnce = 4
	uploadWithin  = 10 * time.Minute
)

// Uploads puts finished step logs into the object store, as soon as there is a log and a URL for it. The context of the
// call that completes the two is the upload's.
type Uploads struct {
	mu      sync.Mutex
	targets map[string]wire.Target
	files   map[string]*logUpload
	client  *http.Client
	slots   chan struct{}
	busy    int        // uploads under way
	ended   *sync.Cond // one of them has ended; a WaitGroup must not be added to while it is waited for
	journal *journal.Journal
	store   bool // there is one: every log is wanted
}

// logState is how far the upload of a log is.
type logState int

const (
	logWaiting logState = iota // for a URL, or for a client
	logActive
	logStored
	logFailed // until there is a new URL
)

type logUpload struct {
	file  *os.File
	facts wire.LogFacts
	state logState
}

// NewUploads has nothing to do yet. What becomes of logs is written to j.
func NewUploads(j *journal.Journal) *Uploads {
	u := &Uploads{
		targets: map[string]wire.Target{},
		files:   map[string]*logUpload{},
		slots:   make(chan struct{}, uploadsAtOnce),
		journal: j,
	}
	u.ended = sync.NewCond(&u.mu)
	return u
}

// Refresh takes new URLs and tries again what failed with the old ones.
func (u *Uploads) Refresh(ctx context.Context, targets map[string]wire.Target, client *http.Client) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.client = client
	for what, target := range targets {
		u.targets[what] = target
		if file := u.files[what]; file != nil && file.state == logFailed {
			file.state = logWaiting
		}
	}
	for what := range u.files {
		u.try(ctx, what)
	}
}

// Add says that a log is complete. The file must stay open.
func (u *Uploads) Add(ctx context.Context, what string, file *os.File, facts wire.LogFacts) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.files[what] = &logUpload{file: file, facts: facts}
	u.try(ctx, what)
}

// try begins an upload if everything for it is there. u.mu is held.
func (u *Uploads) try(ctx context.Context, what string) {
	file := u.files[what]
	target, found := u.targets[what]
	if !found || file.state != logWaiting || u.client == nil {
		return
	}
	file.state = logActive
	client := u.client
	u.busy++
	go func() {
		defer u.end()
		u.slots <- struct{}{}
		defer func() { <-u.slots }()
		u.upload(ctx, what, file, target, client)
	}()
}

func (u *Uploads) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.busy--
	u.ended.Broadcast()
}

func (u *Uploads) upload(ctx context.Context, what string, file *logUpload, target wire.Target, client *http.Client) {
	within, cancel := context.WithTimeout(ctx, uploadWithin)
	defer cancel()
	err := file.put(within, client, target)
	if err == nil {
		// In this order: a log that is pending no more may be the last thing that `closed` waits for.
		u.journal.Append(time.Now(), wire.UploadedRecord{What: what, Bytes: file.facts.Bytes, SHA256: file.facts.SHA256})
		u.set(file, logStored)
		return
	}
	if u.retry(ctx, what, target) {
		return
	}
	var refused *Refusal
	if errors.As(err, &refused) {
		u.journal.Append(time.Now(), refused.Record(what))
		return
	}
	text := err.Error()
	u.journal.Append(time.Now(), wire.UploadFailedRecord{What: what, Text: text[:min(len(text), wire.MessageMax)]})
}

func (u *Uploads) set(file *logUpload, state logState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	file.state = state
}

// retry tries again where another URL came while target was tried. If not, the log has failed.
func (u *Uploads) retry(ctx context.Context, what string, target wire.Target) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	file := u.files[what]
	file.state = logFailed
	if u.targets[what].URL == target.URL {
		return false
	}
	file.state = logWaiting
	u.try(ctx, what)
	return true
}

// put sends a log as it was when its step ended. Steps run as the same user as we do, and could write to the file.
func (f *logUpload) put(ctx context.Context, client *http.Client, to wire.Target) error {
	what := Content{File: f.file, Size: f.facts.Bytes}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(what.File, 0, what.Size)); err != nil {
		return &Refusal{text: err.Error()}
	}
	if found := hex.EncodeToString(sum.Sum(nil)); found != f.facts.SHA256 {
		return fmt.Errorf("the log was changed after its step had ended: its sha256 is %s and was %s", found, f.facts.SHA256)
	}
	return Put(ctx, client, to, what)
}

// Wait returns when no upload is under way.
func (u *Uploads) Wait() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.busy > 0 {
		u.ended.Wait()
	}
}

// Expect says whether there is a store, so that logs without a URL are waited for.
func (u *Uploads) Expect(store bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.store = u.store || store
}

// Pending names the logs that are wanted but are not stored, sorted.
func (u *Uploads) Pending() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	names := []string{}
	for what, file := range u.files {
		if _, wanted := u.targets[what]; (wanted || u.store) && file.state != logStored {
			names = append(names, what)
		}
	}
	slices.Sort(names)
	return names
}
