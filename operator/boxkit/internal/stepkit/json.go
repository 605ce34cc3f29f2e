package stepkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// runJSON quotes a text as a JSON string (`quote`), or prints one value of a document (`get KEY…`): a string as it is,
// anything else as JSON; or of an object in a list (`find KEY TEXT WANTED`). It ends with 1 where there is none.
func runJSON(args []string, in io.Reader, out io.Writer) (int, error) {
	text, err := io.ReadAll(io.LimitReader(in, requestLimit))
	if err != nil {
		return 1, err
	}
	switch {
	case len(args) == 1 && args[0] == "quote":
		var quoted bytes.Buffer
		encoder := json.NewEncoder(&quoted)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(string(text)); err != nil {
			return 1, err
		}
		_, err := out.Write(bytes.TrimSuffix(quoted.Bytes(), []byte("\n")))
		return 0, err
	case len(args) == 4 && args[0] == "find":
		return findInList(text, args[1], args[2], args[3], out)
	case len(args) >= 2 && args[0] == "get":
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return 1, fmt.Errorf("the answer is not JSON: %w", err)
		}
		for _, key := range args[1:] {
			table, ok := value.(map[string]any)
			if ok {
				value, ok = table[key]
			}
			if !ok || value == nil {
				return 1, fmt.Errorf("the answer has no %s", strings.Join(args[1:], "."))
			}
		}
		if text, ok := value.(string); ok {
			_, err := io.WriteString(out, text)
			return 0, err
		}
		shown, err := json.Marshal(value)
		if err != nil {
			return 1, err
		}
		_, err = out.Write(shown)
		return 0, err
	}
	return codeUsage, fmt.Errorf("usage: %s", Usage)
}

// findInList prints the member `wanted` of the object in a list whose member `key` is the text `value`.
func findInList(text []byte, key, value, wanted string, out io.Writer) (int, error) {
	var rows []map[string]json.RawMessage
	if err := json.Unmarshal(text, &rows); err != nil {
		return 1, fmt.Errorf("the answer is not a list of objects: %w", err)
	}
	for _, row := range rows {
		var found string
		if json.Unmarshal(row[key], &found) == nil && found == value {
			_, err := out.Write(row[wanted])
			return 0, err
		}
	}
	return 1, fmt.Errorf("the answer has no %s %s", key, value)
}

// runURL escapes a text for a URL's path or query.
func runURL(args []string, in io.Reader, out io.Writer) (int, error) {
	if len(args) != 1 || args[0] != "quote" {
		return codeUsage, fmt.Errorf("usage: %s", Usage)
	}
	text, err := io.ReadAll(io.LimitReader(in, requestLimit))
	if err != nil {
		return 1, err
	}
	_, err = io.WriteString(out, strings.ReplaceAll(url.QueryEscape(string(text)), "+", "%20"))
	return 0, err
}
