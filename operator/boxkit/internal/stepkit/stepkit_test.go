package stepkit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func call(t *testing.T, in string, verb string, args ...string) (int, string, string) {
	t.Helper()
	var out, diagnostics bytes.Buffer
	code := Run(verb, args, t.TempDir(), strings.NewReader(in), &out, &diagnostics)
	return code, out.String(), diagnostics.String()
}

func TestHTTP(t *testing.T) {
	var got *http.Request
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got, body = r, string(text)
		switch r.URL.Path {
		case "/gone":
			w.WriteHeader(http.StatusNotFound)
		case "/away":
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusTemporaryRedirect)
			return
		}
		_, _ = io.WriteString(w, "answer")
	}))
	defer server.Close()

	code, out, diagnostics := call(t, "POST "+server.URL+"/hook\nX-Token: s3cret\n\n{\"a\":\n1}", "http")
	if code != 0 || out != "answer" || diagnostics != "" {
		t.Fatal(code, out, diagnostics)
	}
	if got.Method != "POST" || got.Header.Get("X-Token") != "s3cret" || body != "{\"a\":\n1}" {
		t.Fatal(got.Method, got.Header, body)
	}

	code, out, diagnostics = call(t, "GET "+server.URL+"/gone?token=s3cret\n\n", "http")
	if code != codeStatus || out != "answer" || diagnostics != "127.0.0.1 answered with HTTP 404 Not Found\n" {
		t.Fatal(code, out, diagnostics)
	}

	file := filepath.Join(t.TempDir(), "asset")
	if err := os.WriteFile(file, []byte("contents"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, diagnostics = call(t, "PUT "+server.URL+"/\n\n", "http", "--body", file); code != 0 || body != "contents" {
		t.Fatal(code, diagnostics, body)
	}
	if got.ContentLength != 8 {
		t.Fatal(got.ContentLength)
	}

	// A redirect to another host is an answer like any other: nothing is sent there.
	if code, _, diagnostics = call(t, "POST "+server.URL+"/away\n\nx", "http"); code != 0 || diagnostics != "" {
		t.Fatal(code, diagnostics)
	}
}

func TestHTTPWithoutAnAnswer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.URL
	server.Close()

	code, _, diagnostics := call(t, "GET "+address+"/secret-path\n\n", "http")
	if code != codeConnect || strings.Contains(diagnostics, "secret-path") || !strings.Contains(diagnostics, "no answer from 127.0.0.1") {
		t.Fatal(code, diagnostics)
	}
}

func TestHTTPRefusesWhatIsNoRequest(t *testing.T) {
	for _, in := range []string{"", "GET\n\n", "GET ftp://host/\n\n", "GET http:///path\n\n", "GE T\x00 http://host/\n\n", "GET http://host/\nno header\n\n"} {
		if code, _, diagnostics := call(t, in, "http"); code != codeUsage || diagnostics == "" {
			t.Errorf("%q: %d %q", in, code, diagnostics)
		}
	}
}

func TestJSON(t *testing.T) {
	document := `{"id": 12345678901234567890, "name": "a \"b\"", "nested": {"list": [1, 2]}, "nothing": null}`
	for _, each := range []struct {
		in   string
		args []string
		code int
		out  string
	}{
		{"a \"b\"\n<é>\x01", []string{"quote"}, 0, `"a \"b\"\n<é>\u0001"`},
		{"", []string{"quote"}, 0, `""`},
		{document, []string{"get", "id"}, 0, "12345678901234567890"},
		{document, []string{"get", "name"}, 0, `a "b"`},
		{document, []string{"get", "nested", "list"}, 0, "[1,2]"},
		{document, []string{"get", "nothing"}, 1, ""},
		{document, []string{"get", "name", "more"}, 1, ""},
		{`[{"name": "a", "id": 1}, {"name": "b", "id": 2}]`, []string{"find", "name", "b", "id"}, 0, "2"},
		{`[{"name": "a", "id": 1}, {"id": 2}]`, []string{"find", "name", "b", "id"}, 1, ""},
		{`{}`, []string{"find", "name", "b", "id"}, 1, ""},
		{"<html>", []string{"get", "id"}, 1, ""},
		{"", []string{"get"}, codeUsage, ""},
	} {
		if code, out, _ := call(t, each.in, "json", each.args...); code != each.code || out != each.out {
			t.Errorf("%v: %d %q", each.args, code, out)
		}
	}
}

func TestURL(t *testing.T) {
	if code, out, _ := call(t, "a b/c?d=é+%~-_.", "url", "quote"); code != 0 || out != "a%20b%2Fc%3Fd%3D%C3%A9%2B%25~-_." {
		t.Fatal(code, out)
	}
}

func TestTool(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("WERCKER_TOOLS_DIR", dir)
	if code, _, diagnostics := call(t, "", "tool", "hugo"); code != 1 || !strings.Contains(diagnostics, "steps.tools") {
		t.Fatal(code, diagnostics)
	}
	sum := sha256.Sum256([]byte("binary"))
	digest := hex.EncodeToString(sum[:])
	for name, text := range map[string]string{
		"old": "binary", "new": "binary", "changed": "another",
		"tools.json": `[{"name": "hugo", "version": "0.9.0", "path": "old", "sha256": "` + digest + `"},
			{"name": "hugo", "version": "0.74.3", "path": "new", "sha256": "` + digest + `"},
			{"name": "dep", "version": "1", "path": "changed", "sha256": "` + digest + `"},
			{"name": "bad", "version": "1", "path": "../x", "sha256": "` + digest + `"}]`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, each := range []struct {
		args        []string
		code        int
		out         string
		diagnostics string
	}{
		{[]string{"hugo"}, 0, dir + "/new\n", ""},
		{[]string{"hugo", "v0.9.0"}, 0, dir + "/old\n", ""},
		{[]string{"hugo", "1.0"}, 1, "", "the operator provides hugo 0.9.0, 0.74.3, not 1.0\n"},
		{[]string{"ghr"}, 1, "", "the operator does not provide ghr\n"},
		{[]string{"bad"}, 1, "", "the path of bad 1 in the operator's tools.json leads out of it\n"},
	} {
		code, out, diagnostics := call(t, "", "tool", each.args...)
		if code != each.code || out != each.out || diagnostics != each.diagnostics {
			t.Errorf("%v: %d %q %q", each.args, code, out, diagnostics)
		}
	}
	if code, _, diagnostics := call(t, "", "tool", "dep"); code != 1 || !strings.Contains(diagnostics, "has sha256") {
		t.Fatal(code, diagnostics)
	}
}
