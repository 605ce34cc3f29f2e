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

const uploadsAtOnce = 4

// Uploads puts finished step logs into the object store, as soon as there is a log and a URL for it.
type Uploads struct {
	ctx     context.Context
	mu      sync.Mutex
	targets map[string]wire.Target
	files   map[string]*logUpload
	client  *http.Client
	slots   chan struct{}
	busy    sync.WaitGroup
	journal *journal.Journal
	store   bool // there is one: every log is wanted
}

type logUpload struct {
	file   *os.File
	facts  wire.LogFacts
	active bool
	done   bool
	failed bool // waits for the next open
}

func NewUploads(ctx context.Context, j *journal.Journal) *Uploads {
	return &Uploads{
		ctx:     ctx,
		targets: map[string]wire.Target{},
		files:   map[string]*logUpload{},
		slots:   make(chan struct{}, uploadsAtOnce),
		journal: j,
	}
}

// Refresh takes new URLs and tries again what failed with the old ones.
func (u *Uploads) Refresh(targets map[string]wire.Target, client *http.Client) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.client = client
	for what, target := range targets {
		u.targets[what] = target
		if file := u.files[what]; file != nil {
			file.failed = false
		}
	}
	for what := range u.files {
		u.try(what)
	}
}

// Add says that a file is complete.
func (u *Uploads) Add(what string, file *os.File, facts wire.LogFacts) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.files[what] = &logUpload{file: file, facts: facts}
	u.try(what)
}

// try begins an upload if everything for it is there. u.mu is held.
func (u *Uploads) try(what string) {
	file := u.files[what]
	target, found := u.targets[what]
	if !found || file.active || file.done || file.failed || u.client == nil {
		return
	}
	file.active = true
	u.busy.Add(1)
	client := u.client
	go func() {
		defer u.busy.Done()
		u.slots <- struct{}{}
		defer func() { <-u.slots }()
		ctx, cancel := context.WithTimeout(u.ctx, 10*time.Minute)
		defer cancel()
		err := file.put(ctx, client, target)
		u.mu.Lock()
		file.active = false
		file.done = err == nil
		file.failed = err != nil
		again := err != nil && u.targets[what].URL != target.URL
		u.mu.Unlock()
		var refused *Refusal
		switch {
		case err == nil:
			u.journal.Append(time.Now(), "uploaded",
				wire.UploadedRecord{What: what, Bytes: file.facts.Bytes, SHA256: file.facts.SHA256})
		case again: // a new URL came while the old one was tried
			u.mu.Lock()
			file.failed = false
			u.try(what)
			u.mu.Unlock()
		case errors.As(err, &refused):
			u.journal.Append(time.Now(), "upload-refused",
				wire.UploadRefusedRecord{What: what, Status: refused.status, Text: refused.text})
		default:
			u.journal.Append(time.Now(), "upload-failed", wire.UploadFailedRecord{What: what, Text: err.Error()[:min(len(err.Error()), wire.MessageMax)]})
		}
	}()
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
func (u *Uploads) Wait() { u.busy.Wait() }

// Expect says whether there is a store, so that logs without a URL are waited for.
func (u *Uploads) Expect(store bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.store = u.store || store
}

// Pending names the files that are wanted but are not there, sorted.
func (u *Uploads) Pending() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	names := []string{}
	for what, file := range u.files {
		if _, wanted := u.targets[what]; (wanted || u.store) && !file.done {
			names = append(names, what)
		}
	}
	slices.Sort(names)
	return names
}
