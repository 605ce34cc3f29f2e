package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/journal"
	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// desk is a queue of uploads with a journal and a store that answers with the status of a path, or 200.
type desk struct {
	*Uploads
	t       *testing.T
	journal *journal.Journal
	client  *http.Client
	url     string

	mu     sync.Mutex
	status map[string]int
	puts   map[string]string
	held   map[string]chan struct{} // a request for a path waits for it
	asked  chan struct{}            // gets something for each request, while there is room
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, status: map[string]int{}, puts: map[string]string{}, held: map[string]chan struct{}{}, asked: make(chan struct{}, 8)}
	server := httptest.NewServer(http.HandlerFunc(d.put))
	t.Cleanup(server.Close)
	j, err := journal.New(filepath.Join(t.TempDir(), "journal"), func() {})
	if err != nil {
		t.Fatal(err)
	}
	d.Uploads, d.journal, d.client, d.url = NewUploads(j), j, NewClient(t.TempDir(), "", ""), server.URL
	return d
}

func (d *desk) put(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	select {
	case d.asked <- struct{}{}:
	default:
	}
	d.mu.Lock()
	held, status := d.held[r.URL.Path], d.status[r.URL.Path]
	d.mu.Unlock()
	if held != nil {
		<-held
	}
	if status != 0 {
		http.Error(w, "no", status)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.puts[r.URL.Path] = string(body) + " " + r.Header.Get("X-Amz-Meta-Sha256") + " " + r.Host
}

func (d *desk) file(text string) (*os.File, wire.LogFacts) {
	d.t.Helper()
	file, err := safefile.Create(filepath.Join(d.t.TempDir(), "log"), 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := file.WriteString(text); err != nil {
		d.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	return file, wire.LogFacts{Bytes: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}
}

func (d *desk) add(what, text string) *os.File {
	file, facts := d.file(text)
	d.Add(d.t.Context(), what, file, facts)
	return file
}

func (d *desk) at(what, path string) {
	d.Refresh(d.t.Context(), map[string]wire.Target{what: {
		URL: d.url + path, Headers: map[string]string{"x-amz-meta-sha256": "sum", "Host": "store.lab", "Content-Length": "1"},
	}}, d.client)
}

func (d *desk) kinds() (all []string) {
	for _, line := range d.journal.Since(0) {
		var head wire.RecordHead
		if err := json.Unmarshal(line, &head); err != nil {
			d.t.Fatal(err)
		}
		all = append(all, head.Kind)
	}
	return all
}

func (d *desk) want(pending []string, kinds ...string) {
	d.t.Helper()
	d.Wait()
	if got := d.Pending(); !slices.Equal(got, pending) {
		d.t.Errorf("pending: %q, want %q", got, pending)
	}
	if got := d.kinds(); !slices.Equal(got, kinds) {
		d.t.Errorf("records: %q, want %q", got, kinds)
	}
}

func TestALogIsPutOnceThereIsAURL(t *testing.T) {
	d := newDesk(t)
	d.add("log/1", "text")
	d.want([]string{})
	d.Expect(true) // there is a store: its URL will come
	d.want([]string{"log/1"})
	d.at("log/1", "/1")
	d.want([]string{}, "uploaded")
	if got := d.puts["/1"]; got != "text sum store.lab" {
		t.Errorf("%q", got)
	}
	d.at("log/1", "/again")
	d.at("log/2", "/2")
	d.add("log/2", "")
	d.want([]string{}, "uploaded", "uploaded")
	if len(d.puts) != 2 {
		t.Errorf("%q", d.puts)
	}
}

func TestARefusedLogWaitsForAnotherURL(t *testing.T) {
	d := newDesk(t)
	d.status["/1"] = http.StatusForbidden
	d.at("log/1", "/1")
	d.add("log/1", "text")
	d.want([]string{"log/1"}, "upload-refused")
	d.Refresh(t.Context(), nil, d.client)
	d.want([]string{"log/1"}, "upload-refused")
	d.at("log/1", "/2")
	d.want([]string{}, "upload-refused", "uploaded")
}

func TestAURLThatComesDuringAnUploadIsTriedNext(t *testing.T) {
	d := newDesk(t)
	release := make(chan struct{})
	d.status["/1"], d.held["/1"] = http.StatusForbidden, release
	d.at("log/1", "/1")
	d.add("log/1", "text")
	d.at("log/1", "/2")
	close(release)
	d.want([]string{}, "uploaded")
}

func TestUploadsMayBeginWhileTheyAreWaitedFor(t *testing.T) {
	d := newDesk(t)
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		for len(d.kinds()) < 100 {
			d.Wait()
		}
	}()
	for n := range 100 {
		what := fmt.Sprintf("log/%d", n)
		d.at(what, fmt.Sprintf("/%d", n))
		d.add(what, "text")
	}
	<-waiting
	if got := d.Pending(); len(got) > 0 {
		t.Errorf("pending: %q", got)
	}
}

func TestALogThatWasChangedIsNotPut(t *testing.T) {
	d := newDesk(t)
	file, facts := d.file("text")
	if _, err := file.WriteAt([]byte("forged"), 0); err != nil {
		t.Fatal(err)
	}
	d.at("log/1", "/1")
	d.Add(t.Context(), "log/1", file, facts)
	d.want([]string{"log/1"}, "upload-failed")
}

func TestUploadsEndWithTheirContext(t *testing.T) {
	d := newDesk(t)
	d.status["/1"] = http.StatusServiceUnavailable // tried again for ever
	d.at("log/1", "/1")
	file, facts := d.file("text")
	ctx, stop := context.WithCancel(t.Context())
	d.Add(ctx, "log/1", file, facts)
	for range 2 { // the first answer has been heard when it asks again
		<-d.asked
	}
	stop()
	d.want([]string{"log/1"}, "upload-refused")
}

func TestAnObjectThatIsThereWasStoredByAnEarlierTry(t *testing.T) {
	d := newDesk(t)
	d.status["/1"] = http.StatusPreconditionFailed
	file, facts := d.file("text")
	once := wire.Target{URL: d.url + "/1", Headers: map[string]string{"If-None-Match": "*"}}
	if err := Put(t.Context(), d.client, once, Content{File: file, Size: facts.Bytes}); err != nil {
		t.Error(err)
	}
	once.Headers = nil
	if err := Put(t.Context(), d.client, once, Content{File: file, Size: facts.Bytes}); err == nil {
		t.Error("412 without a condition is a refusal")
	}
	if err := Put(t.Context(), d.client, wire.Target{URL: "://"}, Content{File: file}); err == nil {
		t.Error("a URL of nonsense")
	}
}

func TestAPresignedURLIsNotShown(t *testing.T) {
	d := newDesk(t)
	file, facts := d.file("text")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := Put(ctx, NewClient(t.TempDir(), "", "http://127.0.0.1:1"), wire.Target{URL: "http://store.lab/x?secret"}, Content{File: file, Size: facts.Bytes})
	if err == nil || filepath.Base(err.Error()) == "x?secret" {
		t.Errorf("%v", err)
	}
}
