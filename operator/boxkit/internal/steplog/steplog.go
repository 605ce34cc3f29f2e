// Package steplog takes what the shells print through the masks into the log of a step and to the container's output.
package steplog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"sync/atomic"

	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// Log is the masked output of one step: a file that followers and the upload read while or after it grows.
// Past its limit the middle is dropped: the first half stays, the second half is a ring in a file of its own until
// the step ends. Only the goroutine that holds the output lock writes. Readers use the same descriptor: it stays open, and
// whatever a step does to the file's name, they get what was written.
type Log struct {
	ordinal int
	path    string
	File    *os.File
	half    int64
	total   int64 // bytes that the step wrote, dropped ones included
	ring    *os.File
	sum     hash.Hash
	err     error
	size    atomic.Int64 // bytes of the file that readers may see
}

func New(path string, ordinal int, limit int64) (*Log, error) {
	file, err := safefile.Create(path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the log of step %d: %w", ordinal, err)
	}
	return &Log{ordinal: ordinal, path: path, File: file, half: max(limit/2, 1), sum: sha256.New()}, nil
}

// Readable is how many bytes readAt has. For any goroutine.
func (l *Log) Readable() int64 { return l.size.Load() }

// ReadAt is os.File.ReadAt. For any goroutine.
func (l *Log) ReadAt(data []byte, at int64) (int, error) { return l.File.ReadAt(data, at) }

func (l *Log) write(data []byte) {
	if head := l.half - l.total; head > 0 {
		n := min(head, int64(len(data)))
		l.keep(data[:n])
		l.total += n
		data = data[n:]
	}
	for len(data) > 0 && l.err == nil {
		if l.ring == nil {
			l.ring, l.err = safefile.Create(l.path+".ring", 0o600)
			if l.err != nil {
				return
			}
			_ = os.Remove(l.path + ".ring")
		}
		at := (l.total - l.half) % l.half
		n := min(l.half-at, int64(len(data)))
		_, l.err = l.ring.WriteAt(data[:n], at)
		l.total += n
		data = data[n:]
	}
	l.total += int64(len(data))
}

// keep writes to the file itself. After an error nothing more is written: a hole would shift every later offset.
func (l *Log) keep(data []byte) {
	if l.err != nil || len(data) == 0 {
		return
	}
	n, err := l.File.Write(data)
	l.sum.Write(data[:n])
	l.size.Add(int64(n))
	l.err = err
}

// Finish puts the end of a log that was too long behind its beginning, and says what the file holds.
func (l *Log) Finish() wire.LogFacts {
	over := l.total - l.half
	dropped := max(0, over-l.half)
	if over > 0 && l.ring != nil && l.err == nil {
		start := int64(0)
		if dropped > 0 {
			start = over % l.half
			l.keep(fmt.Appendf(nil, "\n[sentinel: %d bytes of this log were dropped here]\n", dropped))
		}
		l.copyRing(start, min(over, l.half)-start)
		l.copyRing(0, start)
	}
	if l.ring != nil {
		l.ring.Close()
		l.ring = nil
	}
	facts := wire.LogFacts{Bytes: l.size.Load(), SHA256: hex.EncodeToString(l.sum.Sum(nil)), Dropped: dropped}
	if l.err != nil {
		facts.Error = l.err.Error()
	}
	return facts
}

func (l *Log) copyRing(from, n int64) {
	buffer := make([]byte, 256<<10)
	part := io.NewSectionReader(l.ring, from, n)
	for {
		got, err := part.Read(buffer)
		l.keep(buffer[:got])
		if err != nil {
			return
		}
	}
}
