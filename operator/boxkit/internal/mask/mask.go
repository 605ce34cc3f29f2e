// Package mask hides protected values in a stream of bytes, in every form in which programs print them.
package mask

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const (
	maskText = "****"
	maskMin  = 4 // shorter values and lines are not masked
)

// Set finds the forms of protected values: exact ones, and loose ones in which white space may differ (loose.go).
// It is immutable: a session that learns more secrets makes a new one.
//
// Nearly every byte is looked at once, in a bitmap of the pairs that forms begin with; only where that hits are the
// forms themselves compared.
type Set struct {
	pairs [1 << 16 / 64]uint64
	first [256]bool
	three map[[3]byte]struct{}
	four  map[uint32][][]byte
	loose looseSet
}

func emptyMaskSet() *Set {
	return &Set{three: map[[3]byte]struct{}{}, four: map[uint32][][]byte{}, loose: looseSet{}}
}

// NewSet masks all forms (maskForms) of the given values; nil if there is nothing to mask.
func NewSet(values [][]byte) *Set {
	m := emptyMaskSet()
	seen := map[string]bool{}
	for _, value := range values {
		exact, loose := maskForms(value)
		for _, text := range exact {
			if len(text) >= maskMin && !seen[text] {
				seen[text] = true
				m.add([]byte(text))
			}
		}
		for _, p := range loose {
			if key := p.key(); len(p.text) >= maskMin && !seen[key] {
				seen[key] = true
				m.addLoose(p)
			}
		}
	}
	if len(m.four) == 0 && len(m.loose) == 0 {
		return nil
	}
	return m
}

// add masks this very text, of at least four bytes.
func (m *Set) add(text []byte) {
	m.beginPair(text[0], text[1])
	m.three[[3]byte(text)] = struct{}{}
	key := binary.BigEndian.Uint32(text)
	m.four[key] = append(m.four[key], text)
}

func (m *Set) beginPair(a, b byte) {
	m.first[a] = true
	pair := uint16(a)<<8 | uint16(b)
	m.pairs[pair>>6] |= 1 << (pair & 63)
}

// at looks for forms that begin at the start of text. It returns the length of the longest that is there in full,
// and whether one may still become whole when more text comes.
func (m *Set) at(text []byte) (length int, partial bool) {
	switch len(text) {
	case 0:
		return 0, false
	case 1:
		return 0, m.first[text[0]]
	}
	pair := uint16(text[0])<<8 | uint16(text[1])
	if m.pairs[pair>>6]&(1<<(pair&63)) == 0 {
		return 0, false
	}
	if len(text) >= maskMin {
		for _, exact := range m.four[binary.BigEndian.Uint32(text)] {
			if bytes.HasPrefix(text, exact) {
				length = max(length, len(exact))
			} else if bytes.HasPrefix(exact, text) {
				partial = true
			}
		}
	} else if len(text) == 2 {
		return 0, true
	} else {
		_, partial = m.three[[3]byte(text)]
	}
	n, more := m.loose.at(text)
	return max(length, n), partial || more
}

// Stream masks one stream of bytes, whatever pieces it comes in: what may be the beginning of a secret is held back
// until it is decided. Matches that overlap are covered as one.
type Stream struct {
	Set   *Set
	held  []byte
	cover int // so many bytes at the start of held are part of a match that is masked already
}

// Feed appends to out what can be said of the stream so far, with data as its next bytes.
func (s *Stream) Feed(out, data []byte) []byte {
	if s.Set == nil && len(s.held) == 0 {
		return append(out, data...)
	}
	return s.scan(out, data, false)
}

// Flush appends what was held back: the stream, or the step, ends here.
func (s *Stream) Flush(out []byte) []byte {
	if len(s.held) == 0 {
		s.cover = 0
		return out
	}
	return s.scan(out, nil, true)
}

func (s *Stream) scan(out, data []byte, final bool) []byte {
	text := data
	if len(s.held) > 0 {
		s.held = append(s.held, data...)
		text = s.held
	}
	set := s.Set
	if set == nil {
		set = emptyMaskSet()
	}
	sent, cover, i := 0, s.cover, 0
	sent = min(cover, len(text))
	for i < len(text) {
		// The loop that most bytes see.
		for i+1 < len(text) {
			pair := uint16(text[i])<<8 | uint16(text[i+1])
			if set.pairs[pair>>6]&(1<<(pair&63)) != 0 {
				break
			}
			i++
		}
		length, partial := set.at(text[i:])
		if partial && !final {
			break
		}
		if length > 0 {
			if i >= cover {
				out = append(out, text[sent:i]...)
				out = append(out, maskText...)
			}
			cover = max(cover, i+length)
			sent = cover
		}
		i++
	}
	if sent < i {
		out = append(out, text[sent:i]...)
	}
	s.cover = max(0, cover-i)
	rest := slices.Clone(text[i:])
	s.held = rest
	return out
}

// Once masks a text that is there as a whole.
func (m *Set) Once(text []byte) []byte {
	s := Stream{Set: m}
	return s.Flush(s.Feed(nil, text))
}
