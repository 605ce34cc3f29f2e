package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

var errTooLarge = errors.New("the archive is larger than its limit")

// collect packs a path into spool and puts it. The spool lies in the session's directory, never in the image.
func collect(ctx context.Context, client *http.Client, m *collectMessage, spool string) (kind string, record any) {
	defer os.Remove(spool)
	fail := func(reason, text string) (string, any) {
		return "collect-failed", collectFailedRecord{What: m.What, Path: m.Path, Reason: reason, Text: text}
	}
	packed, err := pack(m.Path, spool, m.Limit, m.Gzip)
	switch {
	case errors.Is(err, errTooLarge):
		return fail("TooLarge", fmt.Sprintf("%s packs to more than %d bytes", m.Path, m.Limit))
	case err != nil:
		return fail("ReadFailed", err.Error())
	}
	packed.What, packed.Path = m.What, m.Path
	if packed.Empty {
		return "collected", packed
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	err = put(ctx, client, upload{URL: m.URL, Headers: m.Headers}, spool)
	var refused *putError
	switch {
	case errors.As(err, &refused):
		return fail("Refused", refused.Error())
	case err != nil:
		return fail("Unreachable", err.Error())
	}
	return "collected", packed
}

// capped counts and hashes what is written, and refuses what is over its limit.
type capped struct {
	w     io.Writer
	n     int64
	limit int64
}

func (c *capped) Write(p []byte) (int, error) {
	if c.limit > 0 && c.n+int64(len(p)) > c.limit {
		return 0, errTooLarge
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// pack writes a directory's contents, or one file, as a tar archive: names relative to the path, owner root, times and
// modes as they are. Sockets, devices and FIFOs are left out.
func pack(path, spool string, limit int64, zip bool) (collectedRecord, error) {
	root, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return collectedRecord{Empty: true}, nil
	}
	if err != nil {
		return collectedRecord{}, err
	}
	file, err := os.OpenFile(spool, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return collectedRecord{}, err
	}
	defer file.Close()
	sum := sha256.New()
	out := &capped{w: io.MultiWriter(file, sum), limit: limit}
	var stream io.Writer = out
	var zipper *gzip.Writer
	if zip {
		zipper, _ = gzip.NewWriterLevel(out, gzip.BestSpeed)
		stream = zipper
	}
	archive := tar.NewWriter(stream)
	files := 0
	if root.IsDir() {
		// The path itself may be a symlink to a directory: walk what it points to.
		base, err := filepath.EvalSymlinks(path)
		if err != nil {
			return collectedRecord{}, err
		}
		err = filepath.WalkDir(base, func(at string, entry fs.DirEntry, err error) error {
			if err != nil || at == base {
				return err
			}
			name, err := filepath.Rel(base, at)
			if err != nil {
				return err
			}
			// As wercker's archives: everything below one directory, called like the path that was asked for.
			added, err := packEntry(archive, at, filepath.Join(filepath.Base(path), name))
			files += added
			return err
		})
		if err != nil {
			return collectedRecord{}, err
		}
	} else if files, err = packEntry(archive, path, filepath.Base(path)); err != nil {
		return collectedRecord{}, err
	}
	if files == 0 {
		return collectedRecord{Empty: true}, nil
	}
	if err := archive.Close(); err != nil {
		return collectedRecord{}, err
	}
	if zipper != nil {
		if err := zipper.Close(); err != nil {
			return collectedRecord{}, err
		}
	}
	if err := file.Close(); err != nil {
		return collectedRecord{}, err
	}
	return collectedRecord{Files: files, Bytes: out.n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// holdsFiles says whether there is anything below a directory but directories.
func holdsFiles(dir string) bool {
	found := false
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && path != dir {
			found = true
			return fs.SkipAll
		}
		return err
	})
	return found
}

func packEntry(archive *tar.Writer, path, name string) (added int, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	link := ""
	switch {
	case info.Mode().IsRegular(), info.IsDir():
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(path); err != nil {
			return 0, err
		}
	default:
		return 0, nil
	}
	var content *os.File
	if info.Mode().IsRegular() {
		if content, err = os.Open(path); err != nil {
			return 0, err
		}
		defer content.Close()
		if info, err = content.Stat(); err != nil {
			return 0, err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return 0, err
	}
	header.Name = name
	if info.IsDir() {
		header.Name += "/"
	}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
	header.Format = tar.FormatPAX
	header.ModTime = header.ModTime.Truncate(time.Second)
	if err := archive.WriteHeader(header); err != nil {
		return 0, err
	}
	if content != nil {
		if _, err := io.CopyN(archive, content, header.Size); err != nil {
			if err == io.EOF {
				err = fmt.Errorf("%s became shorter while it was packed", path)
			}
			return 0, err
		}
	}
	return 1, nil
}
