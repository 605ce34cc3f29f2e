package session

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/filetest"
	"sentinel.wercker.com/boxkit/internal/proc"
	"sentinel.wercker.com/boxkit/internal/steplog"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// whole is a session of real parts: this machine's bash, and an object store that keeps what is put.
type whole struct {
	*Session
	t    *testing.T
	dir  string
	done chan int

	mu     sync.Mutex
	puts   map[string][]byte
	refuse map[string]bool
	url    string
}

var oneReaper = sync.OnceValue(proc.NewReaper) // it waits for every child of the process

func newWhole(t *testing.T) *whole {
	t.Helper()
	w := &whole{t: t, dir: t.TempDir(), done: make(chan int, 1), puts: map[string][]byte{}, refuse: map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(w.put))
	t.Cleanup(server.Close)
	w.url = server.URL
	if err := (&directory{path: filepath.Join(w.dir, "session")}).make(); err != nil {
		t.Fatal(err)
	}
	var err error
	w.Session, err = New(Config{
		Dir: filepath.Join(w.dir, "session"), Kit: w.dir, Cgroup: w.dir, Reaper: oneReaper(),
		Console: steplog.NewConsole(io.Discard), Wake: func() {}, Listen: func() error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() { w.done <- w.Run(ctx, stop) }()
	return w
}

func (w *whole) put(out http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse[r.URL.Path] {
		out.WriteHeader(http.StatusForbidden)
		return
	}
	w.puts[r.URL.Path] = body
}

func (w *whole) stored(path string) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.puts[path]
}

// ask sends a request and returns the answer's type, or the code of its error.
func (w *whole) ask(kind string, body map[string]any) string {
	w.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	message, err := wire.NewReader(bytes.NewReader(w.Handle(w.t.Context(), kind, 5, text))).Next()
	if err != nil {
		w.t.Fatal(err)
	}
	var answer struct {
		Type string      `json:"type"`
		ID   int64       `json:"id"`
		Code string      `json:"code"`
		Env  [][2]string `json:"env"`
	}
	if err := json.Unmarshal(message, &answer); err != nil || answer.ID != 5 {
		w.t.Fatalf("%s: %v", message, err)
	}
	if answer.Code != "" {
		return answer.Code
	}
	if answer.Type == "environment" {
		return fmt.Sprint(answer.Env)
	}
	return answer.Type
}

func (w *whole) open() map[string]any {
	return map[string]any{
		"build": "b", "attempt": 1, "shell": []string{"bash"}, "masks": []string{"czNjcmV0LTc3"}, // s3cret-77
		"env":       [][2]string{{"KEY", "s3cret-77"}, {"OUT", filepath.Join(w.dir, "output")}},
		"sourceDir": filepath.Join(w.dir, "source"), "pipelineDir": filepath.Join(w.dir, "pipeline"), "reportDir": filepath.Join(w.dir, "report"),
		"prepare": map[string]any{"dirs": []string{filepath.Join(w.dir, "source"), filepath.Join(w.dir, "output")}},
		"limits":  map[string]any{"close": 20, "grace": 5},
	}
}

func script(ordinal int, code string) map[string]any {
	return map[string]any{
		"phase": "main", "ordinal": ordinal, "id": fmt.Sprint("s", ordinal), "kind": "script", "code": code, "displayName": "a script",
	}
}

// until waits for a record of a kind, whose `what` or ordinal is the one given, and returns it.
func (w *whole) until(kind, what string) map[string]any {
	w.t.Helper()
	return w.untilNth(1, kind, what)
}

// untilNth waits for the nth of these records.
func (w *whole) untilNth(n int, kind, what string) map[string]any {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		found := 0
		for _, line := range w.Since(0) {
			var record map[string]any
			if err := json.Unmarshal(line, &record); err != nil {
				w.t.Fatal(err)
			}
			if record["kind"] == kind && (fmt.Sprint(record["what"]) == what || fmt.Sprint(record["ordinal"]) == what) {
				if found++; found == n {
					return record
				}
			}
		}
	}
	w.t.Fatalf("no record %d of %s %s; there are %s", n, kind, what, bytes.Join(w.Since(0), []byte("\n")))
	return nil
}

func (w *whole) wantAnswer(want, kind string, body map[string]any) {
	w.t.Helper()
	if got := w.ask(kind, body); got != want {
		w.t.Errorf("%s: %s, want %s", kind, got, want)
	}
}

func TestASessionOfRealParts(t *testing.T) {
	w := newWhole(t)
	for kind, body := range map[string]map[string]any{
		"start": {"steps": []any{}}, "environment": {}, "note": {"key": "a"},
		"collect": {"what": "o", "path": "/"}, "upload": {"what": "o", "url": "http://x"},
	} {
		w.wantAnswer("NotOpen", kind, body)
	}
	w.wantAnswer("InvalidRequest", "open", map[string]any{"attempt": 1})
	w.wantAnswer("InvalidRequest", "nonsense", nil)
	w.wantAnswer("InvalidRequest", "start", map[string]any{"steps": 1})
	w.wantAnswer("ok", "open", w.open())
	w.wantAnswer("ok", "open", w.open()) // again, which refreshes
	other := w.open()
	other["attempt"] = 2
	w.wantAnswer("AlreadyOpen", "open", other)
	if uid, attempt := w.Build(); uid != "b" || attempt != 1 {
		t.Errorf("%s %d", uid, attempt)
	}

	w.wantAnswer("ok", "note", map[string]any{"key": "a", "text": "the service said s3cret-77"})
	w.wantAnswer("ok", "note", map[string]any{"key": "a", "text": "twice"})
	w.wantAnswer("InvalidRequest", "note", map[string]any{"text": "no key"})
	w.wantAnswer("ok", "start", map[string]any{"steps": []any{
		script(1, `echo "key $KEY"; export MADE="by a step"; echo out >"$OUT/file"`),
	}})
	if got := w.until("finished", "1"); got["reason"] != "Passed" {
		t.Errorf("%v", got)
	}
	if env := w.ask("environment", nil); !strings.Contains(env, "[MADE by a step]") || !strings.Contains(env, "[KEY s3cret-77]") {
		t.Errorf("%s", env)
	}

	w.wantAnswer("ok", "upload", map[string]any{"what": "log/1", "url": w.url + "/log"})
	w.until("uploaded", "log/1")
	if got := string(w.stored("/log")); got != "the service said ****\nkey ****\n" {
		t.Errorf("the log is %q", got)
	}
	if log := w.Logs()[1]; log == nil || log.Readable() != int64(len(w.stored("/log"))) {
		t.Error("followers get another log")
	}

	output := map[string]any{"what": "output", "path": filepath.Join(w.dir, "output")}
	w.wantAnswer("InvalidRequest", "collect", map[string]any{"what": "x"})
	w.wantAnswer("ok", "collect", output)
	w.wantAnswer("ok", "collect", output) // under way
	packed := w.until("packed", "output")
	w.wantAnswer("ok", "upload", map[string]any{"what": "output", "url": w.url + "/output"})
	if got := w.until("collected", "output"); got["sha256"] != packed["sha256"] || got["files"] != float64(1) || len(w.stored("/output")) == 0 {
		t.Errorf("%v", got)
	}
	for what, path := range map[string]string{"none": "missing", "empty": "source"} {
		w.wantAnswer("ok", "collect", map[string]any{"what": what, "path": filepath.Join(w.dir, path), "url": w.url + "/x"})
		if got := w.until("collected", what); got["empty"] != true {
			t.Errorf("%v", got)
		}
	}
	w.wantAnswer("ok", "collect", map[string]any{"what": "large", "path": filepath.Join(w.dir, "output"), "limit": 1, "url": w.url})
	if got := w.until("collect-failed", "large"); got["reason"] != "TooLarge" {
		t.Errorf("%v", got)
	}
	w.refuse["/no"] = true
	w.wantAnswer("ok", "collect", map[string]any{"what": "refused", "path": filepath.Join(w.dir, "output"), "url": w.url + "/no"})
	if got := w.until("collect-failed", "refused"); got["reason"] != "Refused" {
		t.Errorf("%v", got)
	}
	// A refused URL, as one that has expired, is replaced by the next one, and the archive is kept for it.
	for what, last := range map[string]string{"renewed": "/renewed", "given-up": "/no"} {
		w.wantAnswer("ok", "collect", map[string]any{"what": what, "path": filepath.Join(w.dir, "output")})
		packed := w.until("packed", what)
		for try := range putTries - 1 {
			w.wantAnswer("ok", "upload", map[string]any{"what": what, "url": w.url + "/no"})
			w.untilNth(try+1, "upload-refused", what)
		}
		w.wantAnswer("ok", "upload", map[string]any{"what": what, "url": w.url + last})
		if last == "/no" {
			if got := w.until("collect-failed", what); got["reason"] != "Refused" {
				t.Errorf("%v", got)
			}
		} else if got := w.until("collected", what); got["sha256"] != packed["sha256"] || len(w.stored(last)) == 0 {
			t.Errorf("%v", got)
		}
	}

	w.wantAnswer("ok", "close", nil)
	if code := <-w.done; code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.wantAnswer("Closed", "start", map[string]any{"steps": []any{script(2, "true")}})
	w.wantAnswer("Closed", "collect", map[string]any{"what": "late", "path": "/"})
}

func TestTheNewestURLOfAnArchiveCounts(t *testing.T) {
	c := &collector{urls: map[string]chan wire.Target{"output": make(chan wire.Target, 1)}}
	for _, url := range []string{"old", "new"} {
		if !c.offer("output", wire.Target{URL: url}) {
			t.Fatal("it was asked for")
		}
	}
	if got := <-c.urls["output"]; got.URL != "new" {
		t.Errorf("%q", got.URL)
	}
	if c.offer("other", wire.Target{}) {
		t.Error("nobody asked for it")
	}
}

func TestASessionThatIsTerminated(t *testing.T) {
	w := newWhole(t)
	w.wantAnswer("ok", "open", w.open())
	w.wantAnswer("ok", "start", map[string]any{"steps": []any{
		script(1, `touch "$OUT/ready"; while :; do sleep 0.05; done`), script(2, "true"),
	}})
	for deadline := time.Now().Add(2 * time.Minute); missingFile(filepath.Join(w.dir, "output", "ready")); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the step does not begin")
		}
	}
	w.Terminate()
	if code := <-w.done; code != 143 {
		t.Errorf("exit code %d", code)
	}
	if got := w.until("finished", "1"); got["reason"] != "BoxTerminated" {
		t.Errorf("%v", got)
	}
	var kinds []string
	for _, line := range w.Since(0) {
		var head wire.RecordHead
		_ = json.Unmarshal(line, &head)
		kinds = append(kinds, head.Kind)
	}
	if want := []string{"opened", "queued", "queued", "started", "stopping", "finished", "skipped", "closed"}; !slices.Equal(kinds, want) {
		t.Errorf("%q", kinds)
	}
	w.wantAnswer("ok", "open", w.open()) // for the uploads
}

func missingFile(path string) bool {
	var stat syscall.Stat_t
	return syscall.Lstat(path, &stat) != nil
}

func TestASessionsFilesAreMadeAgain(t *testing.T) {
	w := newWhole(t)
	w.wantAnswer("ok", "open", w.open())
	w.wantAnswer("ok", "start", map[string]any{"steps": []any{
		script(1, fmt.Sprintf("rm -rf %s/*", filepath.Join(w.dir, "session"))), script(2, "echo on"),
	}})
	if got := w.until("finished", "2"); got["reason"] != "Passed" {
		t.Errorf("%v", got)
	}
	w.wantAnswer("ok", "close", nil)
	<-w.done
}

func TestABoxThatCannotBePrepared(t *testing.T) {
	w := newWhole(t)
	file := filepath.Join(w.dir, "file")
	filetest.Write(t, file, "")
	body := w.open()
	body["prepare"] = map[string]any{"dirs": []string{filepath.Join(file, "dir")}}
	w.wantAnswer("PrepareFailed", "open", body)
	body["prepare"] = map[string]any{"copies": []any{
		map[string]any{"from": filepath.Join(w.dir, "missing"), "to": file}, map[string]any{"from": file, "to": filepath.Join(file, "x")},
	}}
	w.wantAnswer("PrepareFailed", "open", body)
	w.wantAnswer("ok", "close", nil)
	<-w.done
	w.wantAnswer("Closed", "open", w.open())
}
