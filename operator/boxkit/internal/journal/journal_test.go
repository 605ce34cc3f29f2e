package journal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/wire"
)

func TestARecordIsInTheFileBeforeItIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	woken := 0
	j, err := New(path, func() {
		text, _ := os.ReadFile(path)
		if woken++; strings.Count(string(text), "\n") != woken {
			t.Errorf("woken %d times, but the file has %q", woken, text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	j.Append(at, wire.StartedRecord{Ordinal: 7})
	j.Append(at, wire.ServiceRecord{Alias: "a\nb"})
	want := []string{
		`{"type":"record","seq":1,"time":"2026-01-02T02:04:05.000000006Z","kind":"started","ordinal":7}`,
		`{"type":"record","seq":2,"time":"2026-01-02T02:04:05.000000006Z","kind":"service","alias":"a\nb","ready":false,"seconds":0}`,
	}
	text, _ := os.ReadFile(path)
	if string(text) != strings.Join(want, "\n")+"\n" {
		t.Errorf("the file has %s", text)
	}
	for since, lines := range map[int64][]string{-1: want, 0: want, 1: want[1:], 2: nil, 9: nil} {
		got := j.Since(since)
		if len(got) != len(lines) {
			t.Errorf("since %d: %d records, want %d", since, len(got), len(lines))
		}
		for i := range got {
			if string(got[i]) != lines[i] || !json.Valid(got[i]) {
				t.Errorf("since %d: %s", since, got[i])
			}
		}
	}
}

func FuzzJournal(f *testing.F) {
	f.Add("b", "a\nb\xff\x00", int64(1), uint8(3))
	f.Fuzz(func(t *testing.T, build, text string, since int64, count uint8) {
		path := filepath.Join(t.TempDir(), "journal")
		j, err := New(path, func() {})
		if err != nil {
			t.Fatal(err)
		}
		defer j.file.Close()
		for range count {
			j.Append(time.Unix(since, 0), wire.OpenedRecord{Build: build, Shell: text})
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// What a reader of the file replays is what a follower hears, one line per record whatever the text.
		lines := strings.SplitAfter(string(file), "\n")
		if lines = lines[:len(lines)-1]; len(lines) != int(count) {
			t.Fatalf("%d lines of %d records", len(lines), count)
		}
		told := j.Since(since)
		from := min(max(since, 0), int64(count))
		if int64(len(told)) != int64(count)-from {
			t.Fatalf("since %d: %d of %d records", since, len(told), count)
		}
		for i, line := range told {
			var head wire.RecordHead
			if err := json.Unmarshal(line, &head); err != nil || int64(head.Seq) != from+int64(i)+1 {
				t.Fatalf("record %d: %s, %v", i, line, err)
			}
			if string(line)+"\n" != lines[from+int64(i)] {
				t.Fatalf("record %d was told as %s and written as %s", i, line, lines[from+int64(i)])
			}
		}
	})
}
