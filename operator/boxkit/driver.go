package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed init.sh
var werckerInit string

// A driver is the file that the shell sources for one step. It holds text from wercker.yml and our own, never a
// secret: those came by execve. Our lines are \command and builtins, since a step may have defined cd, set or export.
type driver struct {
	begin     string // a command that says that the driver runs
	sourceDir string
	cwd       string
	literals  [][2]string // boxkit's own variables
	exports   [][2]string // the step's, $ is live
	files     []string    // init.sh and run.sh, as far as they exist
	flags     string      // x and v, switched off since the last step
}

func (d *driver) text() string {
	var b strings.Builder
	b.WriteString(d.begin)
	b.WriteString("\\command set +e\n")
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format+"\n", args...)
		b.WriteString("case $? in 0) ;; *) \\command return 1;; esac\n")
	}
	// A step may have moved the source: setup-go-workspace does (wercker-semantics §3.2).
	line("case \"${WERCKER_SOURCE_DIR-}\" in '') \\command cd %s ;; *) \\command cd \"$WERCKER_SOURCE_DIR\" ;; esac",
		singleQuoted(d.sourceDir))
	for _, pair := range d.literals {
		fmt.Fprintf(&b, "\\command export %s=%s\n", pair[0], singleQuoted(pair[1]))
	}
	for _, pair := range d.exports {
		if isName(pair[0]) {
			fmt.Fprintf(&b, "\\command export %s=%s\n", pair[0], liveQuoted(pair[1]))
		} else {
			fmt.Fprintf(&b, "\\command echo %s >&2\n",
				singleQuoted(fmt.Sprintf("sentinel: %q is no name for a variable; it is not exported", pair[0])))
		}
	}
	if d.cwd != "" {
		fmt.Fprintf(&b, "\\command cd %s\n", liveQuoted(d.cwd))
		fmt.Fprintf(&b, "case $? in 0) ;; *) \\command echo %s >|\"$WERCKER_REPORT_MESSAGE_FILE\"; \\command return 1;; esac\n",
			singleQuoted("it cannot begin in its cwd: "+d.cwd))
	}
	if d.flags != "" {
		fmt.Fprintf(&b, "\\command set -%s; ", d.flags)
	}
	for i, file := range d.files {
		fmt.Fprintf(&b, "\\command . %s\n", singleQuoted(file))
		if i < len(d.files)-1 {
			b.WriteString("case $? in 0) ;; *) \\command return;; esac\n")
		}
	}
	if len(d.files) == 0 {
		b.WriteString("\\command :\n")
	}
	return b.String()
}

// scriptText is run.sh of a script step (wercker-semantics §2.5): the shebang is a comment, and the sign that the
// script wants no set -e.
func scriptText(code string) string {
	if strings.HasPrefix(code, "#!") {
		return code + "\n"
	}
	return "set -e\n" + code + "\n"
}

// prepareStep makes a step's directories and files, and says which of init.sh and run.sh there are.
func prepareStep(step *stepSpec, open *openMessage, temp string) (files []string, literals [][2]string, err error) {
	root := filepath.Join(open.PipelineDir, step.ID)
	report := filepath.Join(open.ReportDir, step.ID)
	artifacts := filepath.Join(report, "artifacts")
	for _, dir := range []string{artifacts, temp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, nil, err
		}
	}
	run := filepath.Join(root, "run.sh")
	if step.Kind == "script" {
		if err := os.MkdirAll(root, 0o755); err != nil {
			return nil, nil, err
		}
		if err := writeNew(run, []byte(scriptText(step.Code)), 0o755); err != nil {
			return nil, nil, err
		}
		files = []string{run}
	} else {
		if _, err := os.Stat(step.Dir); err != nil {
			return nil, nil, err
		}
		if err := copyTree(step.Dir, root); err != nil {
			return nil, nil, err
		}
		for _, file := range []string{filepath.Join(root, "init.sh"), run} {
			if _, err := os.Stat(file); err == nil {
				files = append(files, file)
			}
		}
	}
	literals = [][2]string{
		{"WERCKER_STEP_ROOT", root},
		{"WERCKER_STEP_ID", step.ID},
		{"WERCKER_STEP_OWNER", step.Owner},
		{"WERCKER_STEP_NAME", step.Name},
		{"WERCKER_STEP_TEMP", temp},
		{"WERCKER_REPORT_NUMBERS_FILE", filepath.Join(report, "numbers.ini")},
		{"WERCKER_REPORT_MESSAGE_FILE", filepath.Join(report, "message.txt")},
		{"WERCKER_REPORT_ARTIFACTS_DIR", artifacts},
	}
	return files, literals, nil
}
