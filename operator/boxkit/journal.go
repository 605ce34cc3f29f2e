package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// The journal is the truth about a session: a record is in the file before anybody hears of it.
// It is kept in memory too, since every attach reads it and a session has some hundred records.
type journal struct {
	mu    sync.Mutex
	file  *os.File
	lines [][]byte
	wake  func()
}

type recordHead struct {
	Type string `json:"type"`
	Seq  int    `json:"seq"`
	Time string `json:"time"`
	Kind string `json:"kind"`
}

type (
	openedRecord struct {
		Build   string `json:"build"`
		Attempt int    `json:"attempt"`
		Plan    string `json:"plan"`
		Shell   string `json:"shell"`
	}
	serviceRecord struct {
		Alias   string  `json:"alias"`
		Ready   bool    `json:"ready"`
		Seconds float64 `json:"seconds"`
	}
	queuedRecord struct {
		Ordinal int    `json:"ordinal"`
		ID      string `json:"id"`
		Phase   string `json:"phase"`
	}
	startedRecord struct {
		Ordinal int `json:"ordinal"`
	}
	logFacts struct {
		Bytes   int64  `json:"bytes"`
		SHA256  string `json:"sha256"`
		Dropped int64  `json:"dropped"`
		Error   string `json:"error,omitempty"`
	}
	usage struct {
		Seconds         float64 `json:"seconds"`
		CPUSeconds      float64 `json:"cpuSeconds"`
		PeakMemoryBytes int64   `json:"peakMemoryBytes"`
	}
	finishedRecord struct {
		Ordinal int      `json:"ordinal"`
		Exit    int      `json:"exit"`
		Reason  string   `json:"reason"`
		Message string   `json:"message"`
		Log     logFacts `json:"log"`
		Usage   usage    `json:"usage"`
		// There are files in the step's artifacts directory.
		Artifacts bool `json:"artifacts,omitempty"`
	}
	skippedRecord struct {
		Ordinal int    `json:"ordinal"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	}
	cancelledRecord struct {
		Reason string `json:"reason"`
		After  bool   `json:"after"`
	}
	uploadedRecord struct {
		What   string `json:"what"`
		Bytes  int64  `json:"bytes"`
		SHA256 string `json:"sha256"`
	}
	uploadRefusedRecord struct {
		What   string `json:"what"`
		Status int    `json:"status"`
		Text   string `json:"text"`
	}
	uploadFailedRecord struct {
		What string `json:"what"`
		Text string `json:"text"`
	}
	packedRecord struct {
		What   string `json:"what"`
		Bytes  int64  `json:"bytes"`
		SHA256 string `json:"sha256"`
	}
	collectedRecord struct {
		What   string `json:"what"`
		Path   string `json:"path"`
		Empty  bool   `json:"empty"`
		Files  int    `json:"files"`
		Bytes  int64  `json:"bytes"`
		SHA256 string `json:"sha256"`
		// What is not in the archive as it was, as a sentence.
		Notice string `json:"notice,omitempty"`
	}
	collectFailedRecord struct {
		What   string `json:"what"`
		Path   string `json:"path"`
		Reason string `json:"reason"`
		Text   string `json:"text"`
	}
	stoppingRecord struct {
		Signal string `json:"signal"`
	}
	closedRecord struct {
		Pending []string `json:"pending"`
		Reason  string   `json:"reason"`
	}
)

// newJournal begins an empty journal at path. Space for 1 MiB is reserved, so that a disk that fills up later
// cannot keep us from saying so.
func newJournal(path string, wake func()) (*journal, error) {
	file, err := createNew(path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the journal: %w", err)
	}
	const keepSize = 1
	_ = syscall.Fallocate(int(file.Fd()), keepSize, 0, 1<<20) // not every filesystem can
	return &journal{file: file, wake: wake}, nil
}

// append writes one record of the given kind that happened at t.
func (j *journal) append(t time.Time, kind string, body any) {
	fields, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("boxkit: cannot encode a %s record: %v", kind, err))
	}
	j.mu.Lock()
	head, _ := json.Marshal(recordHead{
		Type: "record",
		Seq:  len(j.lines) + 1,
		Time: t.UTC().Format("2006-01-02T15:04:05.000000000Z"),
		Kind: kind,
	})
	line := append(head[:len(head)-1:len(head)-1], ',')
	line = append(line, fields[1:]...)
	// A journal that cannot be written is still told to everybody who is attached: memory is what they read.
	if _, err := j.file.Write(append(line[:len(line):len(line)], '\n')); err != nil {
		fmt.Fprintf(os.Stderr, "boxkit: writing the journal: %v\n", err)
	}
	j.lines = append(j.lines, line)
	j.mu.Unlock()
	j.wake()
}

// since returns the encoded records after seq.
func (j *journal) since(seq int64) [][]byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	if seq < 0 {
		seq = 0
	}
	if seq >= int64(len(j.lines)) {
		return nil
	}
	return j.lines[seq:len(j.lines):len(j.lines)]
}

// last is the number of the newest record.
func (j *journal) last() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return int64(len(j.lines))
}
