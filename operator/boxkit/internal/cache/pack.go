package cache

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	window = 4 << 20 // bytes that zstd looks back; Unpack takes no more than twice that

	// PAX records of a file with holes. The entry has its data only.
	sparseSize = "SENTINEL.size"
	sparseMap  = "SENTINEL.data"
)

// Pack writes a tree that was listed below dir as an archive. Nobody should write there meanwhile: ErrChanged means that
// somebody did, and the archive is of no use. It ends with ctx.
func Pack(ctx context.Context, w io.Writer, dir string, tree *Tree) error {
	compress, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window))
	if err != nil {
		return err
	}
	defer compress.Close() // a second time does nothing
	p := &packer{archive: tar.NewWriter(compress), dir: dir, buffer: make([]byte, 256<<10)}
	for i := range tree.Entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.add(&tree.Entries[i]); err != nil {
			return fmt.Errorf("%s: %w", tree.Entries[i].Path, err)
		}
	}
	if err := p.archive.Close(); err != nil {
		return err
	}
	return compress.Close()
}

type packer struct {
	archive *tar.Writer
	dir     string
	buffer  []byte
}

func (p *packer) add(e *Entry) error {
	header := &tar.Header{
		Name: e.Path, Linkname: e.Link, Mode: int64(e.Mode), ModTime: e.MTime.std(), Format: tar.FormatPAX,
	}
	switch e.Kind {
	case Dir:
		header.Typeflag, header.Name = tar.TypeDir, e.Path+"/"
	case Symlink:
		header.Typeflag = tar.TypeSymlink
	case HardLink:
		header.Typeflag = tar.TypeLink
	default:
		return p.file(e, header)
	}
	return p.archive.WriteHeader(header)
}

func (p *packer) file(e *Entry, header *tar.Header) error {
	file, stat, err := openFile(filepath.Join(p.dir, e.Path))
	if errors.Is(err, os.ErrNotExist) {
		err = ErrChanged
	}
	if err != nil {
		return err
	}
	defer file.Close()
	segments := []segment{{0, e.Size}}
	if stat.Blocks*512 < stat.Size {
		if segments, err = segmentsOf(file, e.Size); err != nil {
			return err
		}
	}
	header.Typeflag, header.Size = tar.TypeReg, dataOf(segments)
	if header.Size < e.Size {
		header.PAXRecords = map[string]string{sparseSize: strconv.FormatInt(e.Size, 10), sparseMap: mapOf(segments)}
	}
	if err := p.archive.WriteHeader(header); err != nil {
		return err
	}
	for _, each := range segments {
		// Neither side may take a shorter way: the writer counts, and must not see more than was promised.
		from := struct{ io.Reader }{io.NewSectionReader(file, each.at, each.size)}
		n, err := io.CopyBuffer(struct{ io.Writer }{p.archive}, from, p.buffer)
		if err != nil {
			return err
		}
		if n < each.size {
			return ErrChanged
		}
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if now := info.ModTime(); info.Size() != e.Size || !now.Equal(e.MTime.std()) {
		return ErrChanged
	}
	return nil
}

func mapOf(segments []segment) string {
	parts := make([]string, len(segments))
	for i, each := range segments {
		parts[i] = fmt.Sprintf("%d+%d", each.at, each.size)
	}
	return strings.Join(parts, ",")
}

// parseMap reads what mapOf wrote: ascending segments within size; never nil.
func parseMap(text string, size int64) ([]segment, error) {
	segments := []segment{}
	if text == "" {
		return segments, nil
	}
	end := int64(0)
	for part := range strings.SplitSeq(text, ",") {
		at, length, _ := strings.Cut(part, "+")
		a, err := strconv.ParseInt(at, 10, 64)
		n, other := strconv.ParseInt(length, 10, 64)
		if err != nil || other != nil || a < end || n <= 0 || a > size || n > size-a || len(segments) >= segmentsMax {
			return nil, fmt.Errorf("%w: a map of holes that makes no sense", ErrInvalid)
		}
		segments = append(segments, segment{a, n})
		end = a + n
	}
	return segments, nil
}
