package store

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/wire"
)

func TestAStoreThatNeverAnswersIsAskedAgain(t *testing.T) {
	answerWithin = 500 * time.Millisecond
	defer func() { answerWithin = 30 * time.Second }()
	var tries atomic.Int32
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if tries.Add(1) == 1 {
			<-release
		}
	}))
	defer server.Close()
	defer close(release)
	file, err := safefile.Create(filepath.Join(t.TempDir(), "log"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("some bytes"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := Put(ctx, NewClient(t.TempDir(), "", ""), wire.Target{URL: server.URL}, Content{File: file, Size: 10}); err != nil {
		t.Fatalf("put: %v", err)
	}
	if tries.Load() < 2 {
		t.Error("it was asked once")
	}
}

func TestLargeFilesHaveMoreTime(t *testing.T) {
	for size, want := range map[int64]time.Duration{
		0:         30 * time.Second,
		256 << 10: 31 * time.Second,
		5 << 30:   30*time.Second + 20480*time.Second,
	} {
		if got := patience(size); got != want {
			t.Errorf("patience(%d) = %s, want %s", size, got, want)
		}
	}
}

func TestWhichAnswersOfAStoreAreFinal(t *testing.T) {
	for status, want := range map[int]bool{
		0: true, 400: true, 403: true, 408: false, 412: true, 429: false, 500: false, 501: true, 503: false, 507: true,
	} {
		if got := (&Refusal{status: status}).final(); got != want {
			t.Errorf("%d: %v, want %v", status, got, want)
		}
	}
}
