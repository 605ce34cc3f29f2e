package restore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/cache"
)

// archive packs two files.
func archive(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"one": "first", "two": strings.Repeat("second", 1000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := cache.Scan(dir, cache.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := cache.Pack(context.Background(), &packed, dir, tree); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// run restores from a server, over what an earlier try left.
func run(t *testing.T, serve http.HandlerFunc, change func(*Task)) (Report, string) {
	t.Helper()
	server := httptest.NewServer(serve)
	defer server.Close()
	firstPause = time.Millisecond
	dir := t.TempDir()
	task := Task{
		URLFile: filepath.Join(dir, "url"), Dest: filepath.Join(dir, "cache"), State: dir,
		Bytes: 1 << 20, Entries: 100, Seconds: 20,
	}
	if err := os.WriteFile(task.URLFile, []byte(server.URL+"/cache?signature=secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{task.Dest, task.Dest + ".new"} {
		if err := os.MkdirAll(filepath.Join(left, "left"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(&task)
	}
	text, _ := json.Marshal(task)
	if err := Run(bytes.NewReader(text), io.Discard); err != nil {
		t.Fatal(err)
	}
	var report Report
	written, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(written, &report); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(written), "secret") {
		t.Errorf("the report holds the URL: %s", written)
	}
	if _, err := os.Stat(task.Dest + ".new"); err == nil {
		t.Error("the unfinished directory is left behind")
	}
	return report, task.Dest
}

func names(t *testing.T, dir string) string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, each := range found {
		all = append(all, each.Name())
	}
	return strings.Join(all, " ")
}

func TestHit(t *testing.T) {
	packed := archive(t)
	sum := sha256.Sum256(packed)
	var made string
	report, dest := run(t, func(w http.ResponseWriter, _ *http.Request) {
		if err := os.MkdirAll(made, 0o755); err != nil { // as the fetching of the source does
			t.Error(err)
		}
		w.Header().Set("x-amz-meta-sha256", hex.EncodeToString(sum[:]))
		_, _ = w.Write(packed)
	}, func(task *Task) { made = task.Dest })
	if report.State != Hit || report.Files != 2 || report.Size != 6005 || report.Bytes != int64(len(packed)) {
		t.Errorf("%+v", report)
	}
	if names(t, dest) != "one two" {
		t.Error(names(t, dest))
	}
	if info, _ := os.Stat(filepath.Join(dest, "one")); info.Mode() != 0o644 { // any user may read it
		t.Error(info.Mode())
	}
}

// Whatever is wrong with a cache, it is empty afterwards, and the report says why.
func TestWhatIsWrongWithACache(t *testing.T) {
	packed := archive(t)
	send := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }
	}
	for name, each := range map[string]struct {
		serve       http.HandlerFunc
		change      func(*Task)
		state, text string
	}{
		"gone":   {http.NotFound, nil, Miss, "none"},
		"denied": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, nil, Failed, "HTTP 403"},
		"fails":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, nil, Failed, "HTTP 500"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, nil, Failed, "HTTP 307"},
		"truncated": {send(packed[:len(packed)-20]), nil, Invalid, "EOF"},
		"junk":      {send([]byte("<html>")), nil, Invalid, "magic"},
		"nothing":   {send(nil), nil, Invalid, "empty"},
		"other bytes": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x-amz-meta-sha256", strings.Repeat("0", 64))
			_, _ = w.Write(packed)
		}, nil, Invalid, "sha256"},
		"too large": {send(packed), func(task *Task) { task.Bytes = 6000 }, Invalid, "larger than its limit"},
		"too many":  {send(packed), func(task *Task) { task.Entries = 1 }, Invalid, "too many files"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(packed)
		}, nil, Failed, "broke after"},
		"slow": {func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, func(task *Task) { task.Seconds = 0.2 }, Failed, "within"},
		"no URL": {send(packed), func(task *Task) { task.URLFile += "x" }, Miss, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			report, dest := run(t, each.serve, each.change)
			if report.State != each.state || !strings.Contains(report.Text, each.text) {
				t.Errorf("%+v", report)
			}
			if names(t, dest) != "" {
				t.Errorf("left behind: %s", names(t, dest))
			}
		})
	}
}

func TestABrokenConnectionIsTriedAgain(t *testing.T) {
	packed, tried := archive(t), 0
	report, dest := run(t, func(w http.ResponseWriter, _ *http.Request) {
		if tried++; tried == 1 {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(packed[:50])
			return
		}
		_, _ = w.Write(packed)
	}, nil)
	if report.State != Hit || names(t, dest) != "one two" {
		t.Errorf("%+v, %s", report, names(t, dest))
	}
}

func TestTheStoreIsReachedThroughTheProxy(t *testing.T) {
	var asked string
	packed := archive(t)
	report, _ := run(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		_, _ = w.Write(packed)
	}, func(task *Task) {
		address, err := os.ReadFile(task.URLFile)
		if err != nil {
			t.Fatal(err)
		}
		task.Proxy, _, _ = strings.Cut(string(address), "/cache")
		if err := os.WriteFile(task.URLFile, []byte("http://store.invalid/cache?signature=secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if report.State != Hit || asked != "http://store.invalid/cache?signature=secret" {
		t.Errorf("%+v, and the proxy was asked for %q", report, asked)
	}
}
