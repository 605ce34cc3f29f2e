package main

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const (
	maskText = "****"
	maskMin  = 4 // shorter values and lines are not masked
)

// pattern is one form of a protected value. With breaks, line breaks in the text are skipped: base64 is wrapped.
type pattern struct {
	text   []byte
	breaks bool
}

// maskSet finds patterns. It is immutable: a session that learns more secrets makes a new one.
//
// Nearly every byte is looked at once, in a bitmap of the pairs that patterns begin with; only where that hits are the
// patterns themselves compared.
type maskSet struct {
	pairs [1 << 16 / 64]uint64
	first [256]bool
	three map[[3]byte]struct{}
	four  map[uint32][]pattern
}

// newMaskSet masks all forms (maskForms) of the given values; nil if there is nothing to mask.
func newMaskSet(values [][]byte) *maskSet {
	m := &maskSet{three: map[[3]byte]struct{}{}, four: map[uint32][]pattern{}}
	seen := map[string]bool{}
	for _, value := range values {
		for _, p := range maskForms(value) {
			key := string(p.text)
			if len(p.text) < maskMin || seen[key] {
				continue
			}
			seen[key] = true
			m.add(p)
		}
	}
	if len(m.four) == 0 {
		return nil
	}
	return m
}

func (m *maskSet) add(p pattern) {
	t := p.text
	m.begin([]byte{t[0], t[1], t[2], t[3]}, p)
	if p.breaks {
		// A line may end within the first four bytes.
		m.begin([]byte{t[0], '\n', t[1], t[2]}, p)
		m.begin([]byte{t[0], t[1], '\n', t[2]}, p)
		m.begin([]byte{t[0], t[1], t[2], '\n'}, p)
		m.begin([]byte{t[0], '\r', '\n', t[1]}, p)
		m.begin([]byte{t[0], t[1], '\r', '\n'}, p)
		m.begin([]byte{t[0], t[1], t[2], '\r'}, p)
	}
}

func (m *maskSet) begin(b []byte, p pattern) {
	m.first[b[0]] = true
	pair := uint16(b[0])<<8 | uint16(b[1])
	m.pairs[pair>>6] |= 1 << (pair & 63)
	m.three[[3]byte(b)] = struct{}{}
	key := binary.BigEndian.Uint32(b)
	m.four[key] = append(m.four[key], p)
}

// at looks for patterns that begin at the start of text. It returns the length of the longest that is there in full,
// and whether one may still become whole when more text comes.
func (m *maskSet) at(text []byte) (length int, partial bool) {
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
	switch len(text) {
	case 2:
		return 0, true
	case 3:
		_, found := m.three[[3]byte(text)]
		return 0, found
	}
	for _, p := range m.four[binary.BigEndian.Uint32(text)] {
		n, more := p.match(text)
		length = max(length, n)
		partial = partial || more
	}
	return length, partial
}

func (p pattern) match(text []byte) (length int, partial bool) {
	if !p.breaks {
		if len(text) < len(p.text) {
			return 0, bytes.HasPrefix(p.text, text)
		}
		if bytes.HasPrefix(text, p.text) {
			return len(p.text), false
		}
		return 0, false
	}
	at := 0
	for i, c := range text {
		if c == p.text[at] {
			if at++; at == len(p.text) {
				return i + 1, false
			}
		} else if at == 0 || (c != '\n' && c != '\r') {
			return 0, false
		}
	}
	return 0, true
}

// maskStream masks one stream of bytes, whatever pieces it comes in: what may be the beginning of a secret is held back
// until it is decided. Matches that overlap are covered as one.
type maskStream struct {
	set   *maskSet
	held  []byte
	cover int // so many bytes at the start of held are part of a match that is masked already
}

// feed appends to out what can be said of the stream so far, with data as its next bytes.
func (s *maskStream) feed(out, data []byte) []byte {
	if s.set == nil && len(s.held) == 0 {
		return append(out, data...)
	}
	return s.scan(out, data, false)
}

// flush appends what was held back: the stream, or the step, ends here.
func (s *maskStream) flush(out []byte) []byte {
	if len(s.held) == 0 {
		s.cover = 0
		return out
	}
	return s.scan(out, nil, true)
}

func (s *maskStream) scan(out, data []byte, final bool) []byte {
	text := data
	if len(s.held) > 0 {
		s.held = append(s.held, data...)
		text = s.held
	}
	set := s.set
	if set == nil {
		set = &maskSet{}
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

// once masks a text that is there as a whole.
func (m *maskSet) once(text []byte) []byte {
	s := maskStream{set: m}
	return s.flush(s.feed(nil, text))
}
