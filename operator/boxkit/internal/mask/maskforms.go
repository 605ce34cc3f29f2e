package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// How many letters and digits a text must have to be masked in more than its exact forms.
const (
	looseMin   = 4  // in its loose form
	encodedMin = 8  // in base64, as a line of a value
	escapedMin = 16 // at all, as what stands between two `\n` within a value
)

// maskForms are the ways in which a protected value is printed (docs/explanation/security.md): itself, itself with each run of white space
// as one blank, and its lines without their indentation; all of these shell-quoted, JSON-escaped, URL-encoded, and with
// other white space or quotes (loose.go), and in base64 at all three alignments, with line breaks anywhere.
//
// What has no letter and no digit tells nothing, and would mask the brackets and indentation of every log.
func maskForms(value []byte) (exact []string, loose []looseForm) {
	whole := strings.TrimSpace(string(value))
	if !maskable(whole) {
		return nil, nil
	}
	texts := []string{whole}
	if collapsed := strings.Join(strings.Fields(whole), " "); collapsed != whole {
		texts = append(texts, collapsed)
	}
	wholes := len(texts)
	if strings.ContainsAny(whole, "\r\n") {
		texts = append(texts, maskableLines(whole)...)
	}
	if strings.Contains(whole, `\n`) {
		// A key within JSON: `jq -r` and the echo of dash make lines of it.
		for _, line := range maskableLines(strings.ReplaceAll(whole, `\n`, "\n")) {
			if wordBytes(line) >= escapedMin {
				texts = append(texts, line)
			}
		}
	}
	for i, each := range texts {
		exact = append(exact, each)
		exact = append(exact, shellForms(each)...)
		exact = append(exact, jsonForms(each)...)
		exact = append(exact, urlForms(each)...)
		if wordBytes(each) >= looseMin {
			loose = append(loose, loosen(each))
		}
		if i < wholes || wordBytes(each) >= encodedMin {
			loose = append(loose, base64Forms([]byte(each))...)
		}
	}
	return exact, loose
}

// maskable says whether a text without white space around it is long enough to be masked, and tells something.
func maskable(text string) bool {
	return len(text) >= maskMin && strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsNumber(r) || r == utf8.RuneError // bytes that are no text
	})
}

func maskableLines(text string) (lines []string) {
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if line = strings.TrimSpace(line); maskable(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// wordBytes counts bytes that are letters or digits, or part of one.
func wordBytes(text string) (n int) {
	for i := range len(text) {
		if inWord(text[i]) {
			n++
		}
	}
	return n
}

func shellForms(s string) []string {
	var ansi, double, backslash strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '\n':
			ansi.WriteString(`\n`)
		case '\t':
			ansi.WriteString(`\t`)
		case '\r':
			ansi.WriteString(`\r`)
		case '\a':
			ansi.WriteString(`\a`)
		case '\b':
			ansi.WriteString(`\b`)
		case '\f':
			ansi.WriteString(`\f`)
		case '\v':
			ansi.WriteString(`\v`)
		case 27:
			ansi.WriteString(`\E`)
		case '\\', '\'':
			ansi.WriteByte('\\')
			ansi.WriteByte(c)
		default:
			if c < 32 || c == 127 {
				fmt.Fprintf(&ansi, `\%03o`, c)
			} else {
				ansi.WriteByte(c)
			}
		}
		if strings.IndexByte("\"\\$`", c) >= 0 {
			double.WriteByte('\\')
		}
		double.WriteByte(c)
		if strings.IndexByte(" \t!\"#$&'()*,;<=>?[\\]^`{|}~", c) >= 0 {
			backslash.WriteByte('\\')
		}
		backslash.WriteByte(c)
	}
	return []string{
		strings.ReplaceAll(s, "'", `'\''`),  // bash and ash, set -x
		strings.ReplaceAll(s, "'", `'"'"'`), // dash
		ansi.String(),
		double.String(),
		backslash.String(),
	}
}

func jsonForms(s string) []string {
	if !utf8.ValidString(s) {
		return nil
	}
	html, _ := json.Marshal(s)
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s)
	raw := strings.TrimSuffix(plain.String(), "\n")
	raw = raw[1 : len(raw)-1]
	var ascii strings.Builder
	for _, r := range raw {
		switch {
		case r < 128:
			ascii.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&ascii, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&ascii, `\u%04x`, r)
		}
	}
	return []string{raw, string(html[1 : len(html)-1]), ascii.String(), strings.ReplaceAll(raw, "/", `\/`)}
}

func urlForms(s string) []string {
	query := url.QueryEscape(s)
	spaces := strings.ReplaceAll(query, "+", "%20")
	component := strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(spaces)
	slashes := strings.ReplaceAll(spaces, "%2F", "/")
	forms := []string{query, spaces, component, slashes, url.PathEscape(s)}
	for _, form := range forms[:5] {
		forms = append(forms, lowerEscapes(form))
	}
	return forms
}

func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
			i += 2
		}
	}
	return string(b)
}

// base64Forms are the characters that the value alone decides, wherever it stands in the encoded text.
func base64Forms(value []byte) []looseForm {
	var forms []looseForm
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			padded := append(make([]byte, shift), value...)
			text := []byte(encoding.EncodeToString(padded))
			from := (shift*8 + 5) / 6
			to := len(padded) * 8 / 6
			if to-from >= maskMin {
				forms = append(forms, wrapped(text[from:to]))
			}
		}
	}
	return forms
}
