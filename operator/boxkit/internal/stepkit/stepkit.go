// Package stepkit has what standard steps need and a box may lack: clients of HTTP and SMTP, JSON strings, and tools that
// the owner of the operator provides. Each is a verb of boxkit. Secrets come on standard input, since every process in the
// box can read a command line.
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

// Verbs are the first arguments that Run takes.
var Verbs = []string{"http", "json", "url", "mail", "s3sync", "expand", "tool", "pack"}

// Usage is how the verbs are called.
const Usage = `boxkit http [--body FILE] [--timeout DURATION] < REQUEST | json quote < TEXT | json get KEY… < JSON | json find KEY TEXT WANTED < JSON | url quote < TEXT | mail < JSON | s3sync < JSON | expand < TEXT | tool NAME [VERSION] | pack DIR FILE`

// Run is one call. `kit` is the directory that boxkit lies in, for its certificates. The result is the exit code.
func Run(verb string, args []string, kit string, in io.Reader, out, diagnostics io.Writer) int {
	var code int
	var err error
	switch verb {
	case "http":
		code, err = runHTTP(args, kit, in, out)
	case "json":
		code, err = runJSON(args, in, out)
	case "s3sync":
		code, err = runS3Sync(args, kit, in, out)
	case "mail":
		code, err = runMail(args, kit, in)
	case "url":
		code, err = runURL(args, in, out)
	case "expand":
		code, err = runExpand(args, in, out)
	case "tool":
		code, err = runTool(args, toolsDir(), out)
	case "pack":
		code, err = runPack(args, diagnostics)
	default:
		code, err = codeUsage, fmt.Errorf("unknown verb; usage: %s", Usage)
	}
	if err != nil {
		fmt.Fprintln(diagnostics, err)
		code = max(code, 1)
	}
	return code
}
