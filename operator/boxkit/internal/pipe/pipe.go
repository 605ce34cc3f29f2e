// Package pipe reads pipes and FIFOs with exact boundaries between what was written before a moment and after it.
package pipe

import (
	"os"
	"sync"
	"syscall"
	"unsafe"
)

const (
	fionread  = 0x541B
	pipeRoom  = 1 << 20
	readChunk = 256 << 10
)

// Source reads a pipe or FIFO and hands every byte to take, under a lock that lets another goroutine read what the
// pipe holds at a certain moment: no byte before a boundary comes after it, and none after it before.
type Source struct {
	mu     sync.Mutex
	raw    syscall.RawConn
	file   *os.File
	buffer []byte
	take   func([]byte)
}

// New needs a file in non-blocking mode.
func New(file *os.File, take func([]byte)) (*Source, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Source{raw: raw, file: file, buffer: make([]byte, readChunk), take: take}, nil
}

// Run reads until the file is closed, or until nobody can write to it any more.
func (s *Source) Run() {
	for ended := false; !ended; {
		err := s.raw.Read(func(fd uintptr) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			n, err := syscall.Read(int(fd), s.buffer)
			if err == syscall.EAGAIN {
				return false
			}
			if n > 0 {
				s.take(s.buffer[:n])
			}
			ended = n == 0 && err == nil
			return true
		})
		if err != nil {
			return
		}
	}
}

// Drain takes exactly what the pipe holds now and then calls then, before any later byte is taken.
func (s *Source) Drain(then func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.raw.Control(func(fd uintptr) {
		var held int32
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, fionread, uintptr(unsafe.Pointer(&held)))
		if errno != 0 {
			return
		}
		for left := int(held); left > 0; {
			n, err := syscall.Read(int(fd), s.buffer[:min(left, len(s.buffer))])
			if err == syscall.EINTR {
				continue
			}
			if n <= 0 {
				return
			}
			s.take(s.buffer[:n])
			left -= n
		}
	})
	if then != nil {
		then()
	}
}

// Hold calls work while no byte is taken.
func (s *Source) Hold(work func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	work()
}

// Is says whether the file it reads is the one of info.
func (s *Source) Is(info os.FileInfo) bool {
	ours, err := s.file.Stat()
	return err == nil && os.SameFile(info, ours)
}

// Close ends run.
func (s *Source) Close() error { return s.file.Close() }

// Output makes the pipe that all shells of a session write to. The write end stays blocking: it is the step's.
func Output() (read, write *os.File, err error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	const setPipeSize = 1031
	_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, uintptr(fds[0]), setPipeSize, pipeRoom)
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "output"), os.NewFile(uintptr(fds[1]), "output"), nil
}
