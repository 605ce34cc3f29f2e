// Package stepkit has what standard steps need and a box may lack: an HTTP client, JSON strings, and tools that the
// owner of the operator provides. Its verbs are `boxkit http`, `boxkit json`, `boxkit url` and `boxkit tool`; their secrets come on
// standard input, since everybody in the box can read a command line.
package stepkit

import (
	"fmt"
	"io"
)

// Exit codes of the verbs, after curl where it has one.
const (
	codeUsage   = 2
	codeConnect = 7
	codeStatus  = 22
)

// Usage is how the verbs are called.
const Usage = `boxkit http [--body FILE] [--timeout DURATION] < REQUEST | json quote < TEXT | json get KEY… < JSON | url quote < TEXT | tool NAME [VERSION]`

// Run is one call. `kit` is the directory that boxkit lies in, for its certificates. The result is the exit code.
func Run(verb string, args []string, kit string, in io.Reader, out, diagnostics io.Writer) int {
	var code int
	var err error
	switch verb {
	case "http":
		code, err = runHTTP(args, kit, in, out)
	case "json":
		code, err = runJSON(args, in, out)
	case "url":
		code, err = runURL(args, in, out)
	case "tool":
		code, err = runTool(args, toolsDir(), out)
	default:
		code, err = codeUsage, fmt.Errorf("unknown verb; usage: %s", Usage)
	}
	if err != nil {
		fmt.Fprintln(diagnostics, err)
	}
	return code
}
