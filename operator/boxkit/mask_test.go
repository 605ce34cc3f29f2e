package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

func masked(set *maskSet, pieces ...string) string {
	s := maskStream{set: set}
	var out []byte
	for _, piece := range pieces {
		out = s.feed(out, []byte(piece))
	}
	return string(s.flush(out))
}

func values(texts ...string) [][]byte {
	var all [][]byte
	for _, text := range texts {
		all = append(all, []byte(text))
	}
	return all
}

func TestMaskTable(t *testing.T) {
	for name, test := range map[string]struct {
		secrets []string
		pieces  []string
		want    string
	}{
		"whole":                      {[]string{"secret"}, []string{"a secret b"}, "a **** b"},
		"split everywhere":           {[]string{"secret"}, strings.Split("a secret b", ""), "a **** b"},
		"at the end":                 {[]string{"secret"}, []string{"x sec", "ret"}, "x ****"},
		"a beginning that was none":  {[]string{"secret"}, []string{"secre", "t?", " secre"}, "****? secre"},
		"longest of two":             {[]string{"secret", "secret-key"}, []string{"secret-", "key secret-"}, "**** ****-"},
		"overlapping is one":         {[]string{"abcdef", "defghi"}, []string{"xabcdefghix"}, "x****x"},
		"overlapping in pieces":      {[]string{"abcdef", "defghi"}, []string{"xabcde", "fg", "hix"}, "x****x"},
		"overlap that fails":         {[]string{"abcdef", "defghi"}, []string{"xabcdef", "gh", "x"}, "x****ghx"},
		"one inside the other":       {[]string{"abcdefgh", "cdef"}, []string{"abcdefgX abcdefgh"}, "ab****gX ****"},
		"next to each other":         {[]string{"secret"}, []string{"secretsecret"}, "********"},
		"repeating itself":           {[]string{"aaaa"}, []string{"aaa", "aaaa", "b"}, "****b"},
		"too short":                  {[]string{"abc"}, []string{"abc"}, "abc"},
		"lines of four bytes":        {[]string{"line\nabc\nlast"}, []string{"line abc last"}, "**** abc ****"},
		"carriage returns":           {[]string{"first\r\nother"}, []string{"first|other"}, "****|****"},
		"set -x in bash":             {[]string{"it's on"}, []string{`'it'\''s on'`}, "'****'"},
		"set -x in dash":             {[]string{"it's on"}, []string{`'it'"'"'s on'`}, "'****'"},
		"ansi quoted":                {[]string{"ab\tcd'\x01"}, []string{`$'ab\tcd\'\001'`}, "$'****'"},
		"double quoted":              {[]string{"a$b\"c`d\\"}, []string{"\"a\\$b\\\"c\\`d\\\\\""}, `"****"`},
		"printf %q":                  {[]string{"two words!"}, []string{`two\ words\!`}, "****"},
		"json":                       {[]string{"q\"\\\n<&é"}, []string{`"q\"\\\n<&é" "q\"\\\n\u003c\u0026é" "q\"\\\n<&\u00e9"`}, `"****" "****" "****"`},
		"url":                        {[]string{"a b/c+d&"}, []string{"a+b%2Fc%2Bd%26 a%20b%2Fc%2Bd%26 a%20b/c%2Bd%26 a%20b%2fc%2bd%26"}, "**** **** **** ****"},
		"nothing to mask":            {nil, []string{"as ", "it is"}, "as it is"},
		"binary":                     {[]string{"\x00\xff\xfe\x01"}, []string{"\x00\xff", "\xfe\x01\xff"}, "****\xff"},
		"the text of a mask is kept": {[]string{"secret"}, []string{"**** secret"}, "**** ****"},
	} {
		if got := masked(newMaskSet(values(test.secrets...)), test.pieces...); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestBase64IsMaskedAtAllAlignmentsAndAcrossLineBreaks(t *testing.T) {
	secret := "correct horse battery staple"
	set := newMaskSet(values(secret))
	for shift := range 40 {
		plain := strings.Repeat(".", shift) + secret + "tail"
		text := base64.StdEncoding.EncodeToString([]byte(plain))
		for _, width := range []int{len(text), 64, 76, 5, 4} {
			for _, newline := range []string{"\n", "\r\n"} {
				var wrapped strings.Builder
				for at := 0; at < len(text); at += width {
					wrapped.WriteString(text[at:min(at+width, len(text))] + newline)
				}
				for _, chunk := range []int{1, 3, 1000} {
					var pieces []string
					for rest := wrapped.String(); rest != ""; {
						n := min(chunk, len(rest))
						pieces = append(pieces, rest[:n])
						rest = rest[n:]
					}
					got := strings.NewReplacer("\n", "", "\r", "").Replace(masked(set, pieces...))
					left := strings.SplitN(got, "****", 2)
					// What neighbours decide too may stay: at most one character on each side.
					if len(left) != 2 || len(left[0]) > shift*8/6+1 {
						t.Fatalf("shift %d width %d chunk %d: %q", shift, width, chunk, got)
					}
				}
			}
		}
	}
}

// naive masks by looking everywhere for everything: slow, and plainly right.
func naive(secrets [][]byte, text []byte) []byte {
	covered := make([]int, len(text)) // the number of the match that covers a byte
	number, end := 0, 0
	for i := range text {
		longest := 0
		for _, secret := range secrets {
			if bytes.HasPrefix(text[i:], secret) {
				longest = max(longest, len(secret))
			}
		}
		if longest == 0 {
			continue
		}
		if i >= end {
			number++
		}
		for j := max(i, end); j < i+longest; j++ {
			covered[j] = number
		}
		end = max(end, i+longest)
	}
	var out []byte
	for i := 0; i < len(text); i++ {
		if covered[i] == 0 {
			out = append(out, text[i])
		} else if i == 0 || covered[i-1] != covered[i] {
			out = append(out, maskText...)
		}
	}
	return out
}

func TestAnyChunkingGivesWhatLookingEverywhereGives(t *testing.T) {
	dice := rand.New(rand.NewSource(1))
	word := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ab"[dice.Intn(2)]
		}
		return b
	}
	for round := range 3000 {
		var secrets [][]byte
		set := &maskSet{three: map[[3]byte]struct{}{}, four: map[uint32][]pattern{}}
		for range 1 + dice.Intn(3) {
			secret := word(4 + dice.Intn(5))
			secrets = append(secrets, secret)
			set.add(pattern{text: secret})
		}
		text := word(dice.Intn(60))
		var pieces []string
		for rest := text; len(rest) > 0; {
			n := 1 + dice.Intn(len(rest))
			pieces = append(pieces, string(rest[:n]))
			rest = rest[n:]
		}
		if got, want := masked(set, pieces...), string(naive(secrets, text)); got != want {
			t.Fatalf("round %d: secrets %q text %q pieces %q:\n got %q\nwant %q", round, secrets, text, pieces, got, want)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte("secret"), []byte("a secret"), uint8(3))
	f.Fuzz(func(t *testing.T, secret, text []byte, cut uint8) {
		set := newMaskSet([][]byte{secret})
		at := min(int(cut), len(text))
		whole := masked(set, string(text))
		if pieces := masked(set, string(text[:at]), string(text[at:])); pieces != whole {
			t.Fatalf("in pieces %q, whole %q", pieces, whole)
		}
		if len(secret) >= maskMin && !bytes.Contains([]byte(maskText), secret) && bytes.Contains(text, secret) &&
			!strings.Contains(whole, maskText) {
			t.Fatalf("%q shows in %q", secret, whole)
		}
	})
}

func BenchmarkMaskRandomBytes(b *testing.B) {
	var secrets [][]byte
	for i := range 20 {
		secrets = append(secrets, fmt.Appendf(nil, "secret number %d with some length", i))
	}
	data := make([]byte, 256<<10)
	rand.New(rand.NewSource(1)).Read(data)
	s := maskStream{set: newMaskSet(secrets)}
	var out []byte
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		out = s.feed(out[:0], data)
	}
}
