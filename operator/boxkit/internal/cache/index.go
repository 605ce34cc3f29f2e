package cache

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteIndex writes a tree's entries, one a line, so that ReadIndex gives them back.
func WriteIndex(w io.Writer, tree *Tree) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	for i := range tree.Entries {
		e := &tree.Entries[i]
		line = append(line[:0], e.Kind, ' ')
		line = strconv.AppendUint(line, uint64(e.Mode), 8)
		for _, n := range [...]int64{e.Size, e.MTime.Sec, e.MTime.Nsec, e.CTime.Sec, e.CTime.Nsec} {
			line = strconv.AppendInt(append(line, ' '), n, 10)
		}
		line = strconv.AppendQuote(append(line, ' '), e.Link)
		line = strconv.AppendQuote(append(line, ' '), e.Path)
		if _, err := out.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return out.Flush()
}

// ReadIndex reads what WriteIndex wrote. Paths are checked as those of an archive are.
func ReadIndex(r io.Reader, limits Limits) (*Tree, error) {
	tree := &Tree{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		entry, err := parseEntry(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%w: line %d of its index: %v", ErrInvalid, len(tree.Entries)+1, err)
		}
		if tree.Entries = append(tree.Entries, entry); limits.Entries > 0 && len(tree.Entries) > limits.Entries {
			return nil, ErrTooMany
		}
	}
	return tree, lines.Err()
}

func parseEntry(line string) (Entry, error) {
	var e Entry
	head, rest, found := strings.Cut(line, ` "`)
	if !found {
		return e, fmt.Errorf("no path")
	}
	fields := strings.Fields(head)
	if len(fields) != 7 || len(fields[0]) != 1 {
		return e, fmt.Errorf("%d fields", len(fields))
	}
	mode, err := strconv.ParseUint(fields[1], 8, 32)
	if err != nil {
		return e, err
	}
	e.Kind, e.Mode = fields[0][0], uint32(mode)
	for i, n := range [...]*int64{&e.Size, &e.MTime.Sec, &e.MTime.Nsec, &e.CTime.Sec, &e.CTime.Nsec} {
		if *n, err = strconv.ParseInt(fields[2+i], 10, 64); err != nil {
			return e, err
		}
	}
	rest = `"` + rest
	link, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return e, err
	}
	name := strings.TrimPrefix(rest[len(link):], " ")
	if e.Link, err = strconv.Unquote(link); err != nil {
		return e, err
	}
	if e.Path, err = strconv.Unquote(name); err != nil {
		return e, err
	}
	if !strings.ContainsRune("dflh", rune(e.Kind)) || !validPath(e.Path) {
		return e, fmt.Errorf("kind %q, path %q", e.Kind, e.Path)
	}
	if e.Kind == HardLink && !validPath(e.Link) {
		return e, fmt.Errorf("a hard link to %q", e.Link)
	}
	return e, nil
}
