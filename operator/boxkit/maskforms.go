package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maskForms are the ways in which a protected value is printed whole (api.md §1): itself, its lines, and both
// shell-quoted, JSON-escaped, URL-encoded; and in base64 at all three alignments, with line breaks anywhere.
func maskForms(value []byte) []pattern {
	if len(value) < maskMin {
		return nil
	}
	var forms []pattern
	add := func(texts ...string) {
		for _, text := range texts {
			forms = append(forms, pattern{text: []byte(text)})
		}
	}
	wholes := []string{string(value)}
	if bytes.ContainsAny(value, "\r\n") {
		for _, line := range bytes.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' }) {
			if len(line) >= maskMin {
				wholes = append(wholes, string(line))
			}
		}
	}
	for _, whole := range wholes {
		add(whole)
		add(shellForms(whole)...)
		add(jsonForms(whole)...)
		add(urlForms(whole)...)
	}
	return append(forms, base64Forms(value)...)
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
func base64Forms(value []byte) []pattern {
	var forms []pattern
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			padded := append(make([]byte, shift), value...)
			text := []byte(encoding.EncodeToString(padded))
			from := (shift*8 + 5) / 6
			to := len(padded) * 8 / 6
			if to-from >= maskMin {
				forms = append(forms, pattern{text: text[from:to], breaks: true})
			}
		}
	}
	return forms
}
