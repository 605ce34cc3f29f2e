package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"unicode"
)

func masked(set *Set, pieces ...string) string {
	s := Stream{Set: set}
	var out []byte
	for _, piece := range pieces {
		out = s.Feed(out, []byte(piece))
	}
	return string(s.Flush(out))
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
		"lines of four bytes":        {[]string{"line\nabc\nlast"}, []string{"line", "\n: abc last"}, "****\n: abc ****"},
		"lines joined":               {[]string{"line\nabc\nlast"}, []string{"line abc last"}, "****"},
		"line breaks at its end":     {[]string{"secret\n\n"}, []string{"a secret\n\nb"}, "a ****\n\nb"},
		"only white space":           {[]string{"    ", "\n\n\n\n\t"}, []string{"        return\n\n\n\n\n"}, "        return\n\n\n\n\n"},
		"a line of white space":      {[]string{"first\n      \nother"}, []string{"      return"}, "      return"},
		"a line of brackets":         {[]string{"{\n    \"a\": 1,\n    },\n------\n}"}, []string{"    },\n-------\n"}, "    },\n-------\n"},
		"another indentation":        {[]string{"a:\n    host: db1\n"}, []string{"- host: db1", "\n  host:    db1"}, "- ****\n  ****"},
		"without its blanks":         {[]string{"{\"pass\": \"s3cret\"}"}, []string{"{\"pass\":\"s3cret\"}"}, "****"},
		"with blanks of its own":     {[]string{"{\"pass\":\"s3cret\"}"}, []string{"{\n  \"pass\": \"s3cret\"\n}\n"}, "****\n"},
		"each word quoted":           {[]string{"say: it's \"on\""}, []string{`+ echo say: 'it'\''s' '"on"'`}, `+ echo ****"'`},
		"no blank within a word":     {[]string{"cute"}, []string{"c ute cu te cute"}, "c ute cu te ****"},
		"read takes backslashes":     {[]string{`pass\word one`}, []string{"password one"}, "****"},
		"a key within JSON":          {[]string{`{"k": "BEGIN\nMIIEpAIBAAKCAQEA7\nEND"}`}, []string{"BEGIN\n", "MIIEpAIBAAKCAQEA7\nEND"}, "BEGIN\n****\nEND"},
		"a path is no lines":         {[]string{`C:\new\names`}, []string{"names and ew"}, "names and ew"},
		"only punctuation":           {[]string{"-----!!!"}, []string{"-----!!!"}, "-----!!!"},
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
		if got := masked(NewSet(values(test.secrets...)), test.pieces...); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestBase64IsMaskedAtAllAlignmentsAndAcrossLineBreaks(t *testing.T) {
	secret := "correct horse battery staple"
	set := NewSet(values(secret))
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
		set := emptyMaskSet()
		for range 1 + dice.Intn(3) {
			secret := word(4 + dice.Intn(5))
			secrets = append(secrets, secret)
			set.add(secret)
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

// secretText draws lines as configuration files have them: indented, blank, of brackets, with quotes and long words.
func secretText(dice *rand.Rand) string {
	parts := []string{"{", "}", "},", "[", ":", " ", "  ", "\t", "\"", "'", "\\", "-", "=", "#", "password", "s3cret-77", "db.internal",
		"it's", "a b", "é", "0", "$HOME", "/x/y", "&", "MIIEpAIBAAKCAQEA7bq3"}
	var text strings.Builder
	for range 1 + dice.Intn(6) {
		text.WriteString(strings.Repeat(" ", dice.Intn(3)*4))
		for range dice.Intn(6) {
			text.WriteString(parts[dice.Intn(len(parts))])
		}
		text.WriteString([]string{"\n", "\n", "\r\n", "\n\n"}[dice.Intn(4)])
	}
	return text.String()
}

// printed are ways in which programs print a value.
var printed = map[string]func(string) string{
	`echo "$X"`:    func(s string) string { return s + "\n" },
	"echo $X":      func(s string) string { return strings.Join(strings.Fields(s), " ") + "\n" },
	"xargs -n1":    func(s string) string { return strings.Join(strings.Fields(s), "\n") + "\n" },
	"tr -d ' \\n'": bare,
	"tr -d '\\n'":  func(s string) string { return strings.ReplaceAll(s, "\n", "") },
	"tr '\\n' ' '": func(s string) string { return strings.ReplaceAll(s, "\n", " ") },
	"expand":       func(s string) string { return strings.ReplaceAll(s, "\t", "        ") },
	"read line": func(s string) string {
		return everyLine(s, func(l string) string { return "> " + strings.Trim(l, " \t") })
	},
	"read words": func(s string) string {
		return everyLine(s, func(l string) string { return strings.Join(strings.Fields(l), " ") })
	},
	"sed 's/^/  /'":  func(s string) string { return everyLine(s, func(l string) string { return "  " + l }) },
	"sed 's/^ *//'":  func(s string) string { return everyLine(s, func(l string) string { return strings.TrimLeft(l, " ") }) },
	"jq, indented":   func(s string) string { return strings.NewReplacer("{", "{\n  ", ",", ",\n  ", ":", ": ").Replace(s) },
	"printf %q":      func(s string) string { return shellForms(s)[4] },
	"set -x, quoted": func(s string) string { return "+ : '" + shellForms(s)[0] + "'\n" },
	"set -x, words": func(s string) string {
		var words []string
		for _, word := range strings.Fields(s) {
			words = append(words, "'"+shellForms(word)[0]+"'")
		}
		return "+ echo " + strings.Join(words, " ") + "\n"
	},
	"json": func(s string) string { text, _ := json.Marshal(s); return string(text) },
}

func everyLine(s string, change func(string) string) string {
	var out strings.Builder
	for line := range strings.Lines(s) {
		out.WriteString(change(strings.TrimRight(line, "\r\n")) + "\n")
	}
	return out.String()
}

// bare is a text without white space.
func bare(s string) string { return strings.Join(strings.Fields(s), "") }

func words(s string) (n int) {
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			n++
		}
	}
	return n
}

// No line of a secret with at least four letters or digits shows, however it is printed: white space does not count.
func TestNoLineOfASecretShowsHoweverItIsPrinted(t *testing.T) {
	dice := rand.New(rand.NewSource(4))
	for range 2000 {
		secret := secretText(dice)
		set := NewSet(values(secret))
		for way, print := range printed {
			text := print(secret)
			cut := dice.Intn(len(text) + 1)
			got := bare(masked(set, text[:cut], text[cut:]))
			for line := range strings.Lines(secret) {
				if words(line) >= 4 && strings.Contains(got, bare(line)) {
					t.Fatalf("%s of %q printed as %q: %q shows in %q", way, secret, text, line, got)
				}
			}
		}
	}
}

func TestNoLineOfASecretShowsInBase64(t *testing.T) {
	dice := rand.New(rand.NewSource(5))
	for range 500 {
		secret := secretText(dice)
		set := NewSet(values(secret))
		for _, way := range []string{`echo "$X"`, "echo $X"} {
			text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", dice.Intn(3)) + printed[way](secret)))
			var wrapped strings.Builder
			for at := 0; at < len(text); at += 76 {
				wrapped.WriteString(text[at:min(at+76, len(text))] + "\n")
			}
			// What is left decodes to nothing that holds a line: at most three characters stand at each end.
			got := bare(masked(set, wrapped.String()))
			for line := range strings.Lines(secret) {
				for shift := range 3 {
					inner := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + strings.TrimSpace(line)))
					if words(line) >= 4 && len(inner) > 12 && strings.Contains(got, inner[4:len(inner)-4]) {
						t.Fatalf("%s of %q: %q shows in %q", way, secret, line, got)
					}
				}
			}
		}
	}
}

// A gap is looked through for so long only: a step that prints blanks for ever holds back no more than this.
func TestWhatIsHeldBackIsBounded(t *testing.T) {
	s := Stream{Set: NewSet(values("user: root\npass: s3cret-77"))}
	var out []byte
	for range 1000 {
		out = s.Feed(out, []byte("user:"+strings.Repeat(" ", 4096)))
		if len(s.held) > gapMax+16 {
			t.Fatalf("%d bytes are held back", len(s.held))
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte("secret"), []byte("a secret"), uint8(3))
	f.Fuzz(func(t *testing.T, secret, text []byte, cut uint8) {
		set := NewSet([][]byte{secret})
		at := min(int(cut), len(text))
		whole := masked(set, string(text))
		if pieces := masked(set, string(text[:at]), string(text[at:])); pieces != whole {
			t.Fatalf("in pieces %q, whole %q", pieces, whole)
		}
		bare := bytes.TrimSpace(secret)
		if maskable(string(bare)) && bytes.Contains(text, bare) && !strings.Contains(whole, maskText) {
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
	s := Stream{Set: NewSet(secrets)}
	var out []byte
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		out = s.Feed(out[:0], data)
	}
}
