// boxkit runs a build's steps inside the box. See README.md.
package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"sentinel.wercker.com/boxkit/internal/attach"
	"sentinel.wercker.com/boxkit/internal/guest"
	"sentinel.wercker.com/boxkit/internal/install"
	"sentinel.wercker.com/boxkit/internal/restore"
	"sentinel.wercker.com/boxkit/internal/stepkit"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// version is set by the linker.
var version = "dev"

const usageText = `usage: boxkit install DIR | restore | init | attach | env | version
       ` + guest.Usage + `
       ` + stepkit.Usage

func main() {
	verb := ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	code := 0
	var err error
	switch {
	case verb == "install" && len(os.Args) == 3:
		err = install.Into(os.Args[2])
	case verb == "restore":
		err = restore.Run(os.Stdin, os.Stdout)
	case verb == "init":
		code, err = runInit()
	case verb == "attach":
		err = attach.Run(sessionDir(), os.Stdin, os.Stdout)
	case verb == guest.Run:
		code = guest.Main(os.Args[2:], os.Stderr)
	case verb == guest.Kill:
		err = guest.End()
	case verb == "env":
		err = printEnv(os.Stdout)
	case slices.Contains(stepkit.Verbs, verb):
		code = stepkit.Run(verb, os.Args[2:], fromEnv("SENTINEL_KIT_DIR", "/run/sentinel/kit"), os.Stdin, os.Stdout, os.Stderr)
	case verb == "version":
		fmt.Printf("boxkit %s, protocol %d to %d\n", version, wire.ProtocolMin, wire.ProtocolMax)
	default:
		fmt.Fprintln(os.Stderr, usageText)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "boxkit %s: %v\n", verb, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// printEnv writes the environment NUL-separated: what `env -0` does, where there is no env.
func printEnv(w io.Writer) error {
	var text []byte
	for _, pair := range os.Environ() {
		text = append(append(text, pair...), 0)
	}
	_, err := w.Write(text)
	return err
}

func fromEnv(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

func sessionDir() string { return fromEnv("SENTINEL_SESSION_DIR", "/run/sentinel/session") }
