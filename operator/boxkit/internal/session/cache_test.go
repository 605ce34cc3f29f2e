package session

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"sentinel.wercker.com/boxkit/internal/cache"
	"sentinel.wercker.com/boxkit/internal/filetest"
	"sentinel.wercker.com/boxkit/internal/restore"
)

// restored leaves in the kit what `boxkit restore` leaves: a report, and the index of a hit.
func (w *whole) restored(report restore.Report, from string) {
	w.t.Helper()
	text, err := json.Marshal(report)
	if err != nil {
		w.t.Fatal(err)
	}
	filetest.Write(w.t, filepath.Join(w.dir, restore.Name), string(text))
	if report.State != restore.Hit {
		return
	}
	tree, err := cache.Scan(from, cache.Limits{Entries: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	var index bytes.Buffer
	if err := cache.WriteIndex(&index, tree); err != nil {
		w.t.Fatal(err)
	}
	filetest.Write(w.t, filepath.Join(w.dir, restore.Index), index.String())
}

func TestACacheIsPlacedAndSavedWhereItChanged(t *testing.T) {
	for name, test := range map[string]struct {
		report restore.Report
		code   string
		state  string // of the record `cache`
		saved  map[string]any
		log    string
	}{
		"none yet": {restore.Report{State: restore.Miss}, `echo one >"$CACHE/one"`, "Miss",
			map[string]any{"files": 1.0, "size": 4.0}, ""},
		"as it was": {restore.Report{State: restore.Hit}, `cat "$CACHE/one"`, "Hit",
			map[string]any{"unchanged": true}, "one\n"},
		"more of it": {restore.Report{State: restore.Hit}, `echo two >"$CACHE/two"`, "Hit",
			map[string]any{"files": 2.0, "size": 8.0}, ""},
		"nothing left": {restore.Report{State: restore.Hit}, `rm "$CACHE/one"`, "Hit",
			map[string]any{"empty": true}, ""},
		"broken": {restore.Report{State: restore.Invalid, Text: "it is cut"}, `ls "$CACHE"`, "Invalid",
			map[string]any{"empty": true}, "cache starts empty (Invalid): it is cut\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWhole(t)
			from, to := filepath.Join(w.dir, "from"), filepath.Join(w.dir, "cache")
			filetest.Write(t, filepath.Join(from, "one"), "one\n")
			w.restored(test.report, from)
			body := w.open()
			body["env"] = [][2]string{{"CACHE", to}}
			body["cache"] = map[string]any{"from": from, "to": to, "entries": 100}
			body["prepare"] = map[string]any{"dirs": []string{filepath.Join(w.dir, "source"), to}}
			w.wantAnswer("ok", "open", body)
			if got := w.until("cache", "<nil>"); got["state"] != test.state {
				t.Errorf("%v", got)
			}
			w.wantAnswer("ok", "start", map[string]any{"steps": []any{script(1, test.code)}})
			w.wantAnswer("ok", "collect", map[string]any{
				"what": "cache", "path": to, "cache": true, "entries": 100, "seconds": 120, "url": w.url + "/cache",
			})
			w.until("finished", "1")
			if log, err := os.ReadFile(filepath.Join(w.dir, "session", "log", "1")); err != nil || string(log) != test.log {
				t.Errorf("the log is %q, %v", log, err)
			}
			if w.stored("/cache") != nil {
				t.Error("it was saved while steps may run")
			}
			w.wantAnswer("ok", "close", nil)
			<-w.done
			got := w.until("collected", "cache")
			for key, want := range test.saved {
				if got[key] != want {
					t.Errorf("%s: %v, want %v", key, got[key], want)
				}
			}
			if put, saved := w.stored("/cache"), test.saved["files"] != nil; (len(put) > 0) != saved {
				t.Errorf("%d bytes were put", len(put))
			}
		})
	}
}
