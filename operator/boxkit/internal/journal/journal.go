// Package journal keeps the records of a session in a file, which decides what happened.
package journal

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// The journal is the truth about a session: a record is in the file before it is sent.
// It is kept in memory too, since every attach reads it and a session has some hundred records.
type Journal struct {
	mu    sync.Mutex
	file  *os.File
	lines [][]byte
	wake  func()
}

// New begins an empty journal at path. Space for 1 MiB is reserved, so that a disk that fills up later
// cannot keep us from saying so.
func New(path string, wake func()) (*Journal, error) {
	file, err := safefile.Create(path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the journal: %w", err)
	}
	const keepSize = 1
	_ = syscall.Fallocate(int(file.Fd()), keepSize, 0, 1<<20) // not every filesystem can
	return &Journal{file: file, wake: wake}, nil
}

// Append writes one record of what happened at t.
func (j *Journal) Append(t time.Time, record wire.Record) {
	fields, err := json.Marshal(record)
	if err != nil {
		panic(fmt.Sprintf("boxkit: cannot encode a %s record: %v", record.Kind(), err))
	}
	j.mu.Lock()
	head, _ := json.Marshal(wire.RecordHead{
		Type: "record",
		Seq:  len(j.lines) + 1,
		Time: t.UTC().Format("2006-01-02T15:04:05.000000000Z"),
		Kind: record.Kind(),
	})
	line := append(head[:len(head)-1:len(head)-1], ',')
	line = append(line, fields[1:]...)
	// A journal that cannot be written is still sent to all attached clients: they read from memory.
	if _, err := j.file.Write(append(line[:len(line):len(line)], '\n')); err != nil {
		fmt.Fprintf(os.Stderr, "boxkit: writing the journal: %v\n", err)
	}
	j.lines = append(j.lines, line)
	j.mu.Unlock()
	j.wake()
}

// Since returns the encoded records after seq.
func (j *Journal) Since(seq int64) [][]byte {
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

// Last is the number of the newest record.
func (j *Journal) Last() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return int64(len(j.lines))
}
