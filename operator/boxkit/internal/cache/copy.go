package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Copy copies a tree that was unpacked below from, with its true modes, to a directory that must be empty, and notes in
// the tree when each file's inode was changed last (CTime).
func Copy(ctx context.Context, from string, tree *Tree, to string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	files := make(chan *Entry, 4*workers)
	var running sync.WaitGroup
	var once sync.Once
	var failure error
	fail := func(err error) {
		once.Do(func() { failure = err })
		cancel()
	}
	for range workers {
		running.Add(1)
		go func() {
			defer running.Done()
			for each := range files {
				if ctx.Err() != nil {
					continue
				}
				if err := copyFile(filepath.Join(from, each.Path), filepath.Join(to, each.Path), each); err != nil {
					fail(err)
				}
			}
		}()
	}
	for i := range tree.Entries {
		each := &tree.Entries[i]
		target := filepath.Join(to, each.Path)
		var err error
		switch each.Kind {
		case Dir:
			err = os.Mkdir(target, 0o700)
		case Symlink:
			if err = os.Symlink(each.Link, target); err == nil {
				err = setTimes(target, each.MTime)
			}
		case File:
			files <- each
		}
		if err != nil {
			fail(err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(files)
	running.Wait()
	if failure != nil {
		return failure
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return finishCopy(tree, to)
}

// finishCopy makes hard links, and gives directories their modes and times, the innermost first.
func finishCopy(tree *Tree, to string) error {
	linked := map[string]bool{}
	for i := range tree.Entries {
		if e := &tree.Entries[i]; e.Kind == HardLink {
			if err := os.Link(filepath.Join(to, e.Link), filepath.Join(to, e.Path)); err != nil {
				return err
			}
			linked[e.Link] = true
		}
	}
	for i := len(tree.Entries) - 1; i >= 0; i-- {
		e := &tree.Entries[i]
		target := filepath.Join(to, e.Path)
		if e.Kind == Dir {
			if err := finishDir(target, e.Mode, e.MTime); err != nil {
				return err
			}
		}
		if linked[e.Path] { // the link has changed its inode
			var stat syscall.Stat_t
			if err := syscall.Lstat(target, &stat); err != nil {
				return err
			}
			e.CTime = timeOf(stat.Ctim)
		}
	}
	return nil
}

func copyFile(from, to string, e *Entry) error {
	in, stat, err := openFile(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if stat.Size != e.Size {
		return ErrChanged
	}
	fd, exact, err := createFile(to, e.Mode)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), to)
	if err = copyContent(out, in, stat); err == nil {
		err = finishFile(fd, e.Mode, exact, e.MTime)
	}
	if err == nil {
		var made syscall.Stat_t
		err = syscall.Fstat(fd, &made)
		e.CTime = timeOf(made.Ctim)
	}
	return errors.Join(err, out.Close())
}

func copyContent(out, in *os.File, stat *syscall.Stat_t) error {
	if stat.Blocks*512 >= stat.Size {
		_, err := io.Copy(out, in)
		return err
	}
	segments, err := segmentsOf(in, stat.Size)
	if err != nil {
		return err
	}
	for _, each := range segments {
		if _, err := out.Seek(each.at, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(out, io.NewSectionReader(in, each.at, each.size)); err != nil {
			return err
		}
	}
	return out.Truncate(stat.Size)
}
