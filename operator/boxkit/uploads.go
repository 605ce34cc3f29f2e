package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

const uploadsAtOnce = 4

// uploads puts finished step logs into the object store, as soon as there is a log and a URL for it.
type uploads struct {
	ctx     context.Context
	mu      sync.Mutex
	targets map[string]upload
	files   map[string]*logUpload
	client  *http.Client
	slots   chan struct{}
	busy    sync.WaitGroup
	journal *journal
}

type logUpload struct {
	path   string
	facts  logFacts
	active bool
	done   bool
	failed bool // waits for the next open
}

func newUploads(ctx context.Context, j *journal) *uploads {
	return &uploads{
		ctx:     ctx,
		targets: map[string]upload{},
		files:   map[string]*logUpload{},
		slots:   make(chan struct{}, uploadsAtOnce),
		journal: j,
	}
}

// refresh takes new URLs and tries again what failed with the old ones.
func (u *uploads) refresh(targets map[string]upload, client *http.Client) {
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

// add says that a file is complete.
func (u *uploads) add(what, path string, facts logFacts) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.files[what] = &logUpload{path: path, facts: facts}
	u.try(what)
}

// try begins an upload if everything for it is there. u.mu is held.
func (u *uploads) try(what string) {
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
		err := put(ctx, client, target, file.path)
		u.mu.Lock()
		file.active = false
		file.done = err == nil
		file.failed = err != nil
		again := err != nil && u.targets[what].URL != target.URL
		u.mu.Unlock()
		var refused *putError
		switch {
		case err == nil:
			u.journal.append(time.Now(), "uploaded",
				uploadedRecord{What: what, Bytes: file.facts.Bytes, SHA256: file.facts.SHA256})
		case again: // a new URL came while the old one was tried
			u.mu.Lock()
			file.failed = false
			u.try(what)
			u.mu.Unlock()
		case errors.As(err, &refused):
			u.journal.append(time.Now(), "upload-refused",
				uploadRefusedRecord{What: what, Status: refused.status, Text: refused.text})
		default:
			u.journal.append(time.Now(), "upload-failed", uploadFailedRecord{What: what, Text: err.Error()})
		}
	}()
}

// pending names the files that have a target but are not there, sorted. Files nobody wants are not among them.
func (u *uploads) pending() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	names := []string{}
	for what, file := range u.files {
		if _, wanted := u.targets[what]; wanted && !file.done {
			names = append(names, what)
		}
	}
	slices.Sort(names)
	return names
}
