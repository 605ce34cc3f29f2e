package session

import (
	"strings"
	"sync"
	"unicode/utf8"

	"sentinel.wercker.com/boxkit/internal/mask"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// secrets are the protected values. They are only ever added: an old secret stays one.
type secrets struct {
	mu     sync.Mutex
	values [][]byte
	masks  *mask.Set
}

// add learns more values, and returns what masks all of them: nil where there is nothing to mask.
func (s *secrets) add(values [][]byte) *mask.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[string]bool{}
	for _, value := range s.values {
		known[string(value)] = true
	}
	before := len(s.values)
	for _, value := range values {
		if !known[string(value)] {
			s.values = append(s.values, value)
			known[string(value)] = true
		}
	}
	if len(s.values) > before {
		s.masks = mask.NewSet(s.values)
	}
	return s.masks
}

// mask replaces protected values in text.
func (s *secrets) mask(text string) string {
	s.mu.Lock()
	masks := s.masks
	s.mu.Unlock()
	if masks == nil {
		return text
	}
	return string(masks.Once([]byte(text)))
}

// short is text as it may stand in a record: masked, valid UTF-8, and not long.
func (s *secrets) short(text string) string {
	text = strings.ToValidUTF8(s.mask(text), "\uFFFD")
	if len(text) > wire.MessageMax {
		cut := wire.MessageMax - len("…")
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return text
}
