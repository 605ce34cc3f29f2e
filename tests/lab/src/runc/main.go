// Command runc stands before the real runc on machines without CAP_SYS_RESOURCE.
//
// Docker asks for things that only that capability allows: negative OOM scores,
// and for privileged containers the capability itself. This program takes both out
// of what it is handed (config.json of the bundle on create and run, the process
// file on exec) and becomes runc. Nothing else is changed.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const missing = "CAP_SYS_RESOURCE"

// option returns the value of the first of the named command line options.
func option(args []string, names ...string) string {
	for i, arg := range args {
		for _, name := range names {
			if arg == name && i+1 < len(args) {
				return args[i+1]
			}
			if value, found := strings.CutPrefix(arg, name+"="); found {
				return value
			}
		}
	}
	return ""
}

// command returns runc's subcommand: the first argument that is neither a global
// option nor the value of one.
func command(args []string) string {
	valued := map[string]bool{"--log": true, "--log-format": true, "--root": true, "--criu": true, "--rootless": true}
	for i := 0; i < len(args); i++ {
		switch {
		case valued[args[i]]:
			i++
		case !strings.HasPrefix(args[i], "-"):
			return args[i]
		}
	}
	return ""
}

// relax edits one OCI process object in place.
func relax(process map[string]any) {
	if score, ok := process["oomScoreAdj"].(json.Number); ok && strings.HasPrefix(score.String(), "-") {
		process["oomScoreAdj"] = 0
	}
	sets, _ := process["capabilities"].(map[string]any)
	for name, value := range sets {
		list, _ := value.([]any)
		kept := make([]any, 0, len(list))
		for _, capability := range list {
			if capability != missing {
				kept = append(kept, capability)
			}
		}
		sets[name] = kept
	}
}

// rewrite applies relax to the process found in the file; inside says whether the
// file is a whole config.json or the process alone.
func rewrite(path string, inside bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	document := map[string]any{}
	decoder := json.NewDecoder(file)
	decoder.UseNumber()
	err = decoder.Decode(&document)
	file.Close()
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	process := document
	if inside {
		process, _ = document["process"].(map[string]any)
	}
	relax(process)
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

func main() {
	args := os.Args[1:]
	var err error
	switch command(args) {
	case "create", "run":
		bundle := option(args, "--bundle", "-b")
		if bundle == "" {
			bundle = "."
		}
		err = rewrite(filepath.Join(bundle, "config.json"), true)
	case "exec":
		if path := option(args, "--process", "-p"); path != "" {
			err = rewrite(path, false)
		}
	}
	if err == nil {
		real := os.Getenv("SENTINEL_LAB_RUNC")
		if real == "" {
			real = "/usr/sbin/runc"
		}
		err = syscall.Exec(real, append([]string{real}, args...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "lab runc:", err)
	os.Exit(1)
}
