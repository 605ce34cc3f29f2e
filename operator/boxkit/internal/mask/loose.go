package mask

// A loose form is found whatever white space, quotes and backslashes a program puts between its parts or takes away:
// `echo $X` joins lines, `jq -c` drops blanks and `jq .` adds them, `read` drops indentation and backslashes, `set -x`
// quotes each word. Only these are compared: the significant bytes.
type looseForm struct {
	text []byte        // significant bytes
	gaps []bool        // gaps[i]: a gap may stand before text[i]; gaps[0] is not used
	skip *[1 << 8]bool // what a gap consists of
}

const gapMax = 256 // bytes of one gap: deeper indentation is not looked through

var (
	lineBreaks = skipTable("\r\n")
	blanks     = skipTable(" \t\r\n\v\f'\"\\")
)

func skipTable(skipped string) *[1 << 8]bool {
	var table [1 << 8]bool
	for i := range len(skipped) {
		table[skipped[i]] = true
	}
	return &table
}

// loosen is the loose form of a text. A gap may stand where the text has one, and beside punctuation: within a word
// nobody adds a blank.
func loosen(text string) looseForm {
	form := looseForm{skip: blanks}
	gap := false
	for i := range len(text) {
		c := text[i]
		if blanks[c] {
			gap = true
			continue
		}
		n := len(form.text)
		form.gaps = append(form.gaps, gap || n > 0 && !(inWord(c) && inWord(form.text[n-1])))
		form.text = append(form.text, c)
		gap = false
	}
	return form
}

// wrapped is the loose form of base64, which may have a line break anywhere.
func wrapped(text []byte) looseForm {
	form := looseForm{text: text, gaps: make([]bool, len(text)), skip: lineBreaks}
	for i := range form.gaps {
		form.gaps[i] = true
	}
	return form
}

// inWord says whether a byte is a letter or digit, or part of one.
func inWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c >= 0x80
}

// key is another one for each other form.
func (f looseForm) key() string {
	key := append([]byte("loose\x00"), f.text...)
	for _, gap := range f.gaps {
		if gap {
			key = append(key, 1)
		} else {
			key = append(key, 0)
		}
	}
	if f.skip == lineBreaks {
		key = append(key, 2)
	}
	return string(key)
}

// match returns how many bytes of text the form takes if it is there in full, and whether it may become whole when
// more text comes.
func (f looseForm) match(text []byte) (length int, partial bool) {
	at, gap := 0, 0
	for i, c := range text {
		switch {
		case c == f.text[at]:
			if at++; at == len(f.text) {
				return i + 1, false
			}
			gap = 0
		case at > 0 && f.gaps[at] && f.skip[c] && gap < gapMax:
			gap++
		default:
			return 0, false
		}
	}
	return 0, true
}

// looseHead is the first significant bytes of a form, and how many these are: 1 to 4.
type looseHead struct {
	n     int
	bytes [4]byte
}

// looseSet finds loose forms by their heads.
type looseSet map[looseHead][]looseForm

func (m *Set) addLoose(form looseForm) {
	m.beginPair(form.text[0], form.text[1])
	if form.gaps[1] {
		for c, skipped := range form.skip {
			if skipped {
				m.beginPair(form.text[0], byte(c))
			}
		}
	}
	var head looseHead
	for head.n < len(head.bytes) {
		head.bytes[head.n] = form.text[head.n]
		head.n++
		m.loose[head] = append(m.loose[head], form)
	}
}

// at is Set.at for loose forms.
func (s looseSet) at(text []byte) (length int, partial bool) {
	if len(s) == 0 {
		return 0, false
	}
	var head looseHead
	gap := 0
	for _, c := range text {
		if blanks[c] && head.n > 0 {
			if gap++; gap > gapMax {
				return 0, false
			}
			continue
		}
		gap = 0
		head.bytes[head.n] = c
		if head.n++; head.n == len(head.bytes) {
			break
		}
	}
	for _, form := range s[head] {
		n, more := form.match(text)
		length = max(length, n)
		partial = partial || more
	}
	return length, partial
}
