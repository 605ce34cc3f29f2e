package shell

import (
	_ "embed"
	"fmt"
	"os"
	"strings"
)

//go:embed init.sh
var werckerInit string

// Driver is the file that the shell sources for one step. It holds text from wercker.yml and our own, never a
// secret: those came by execve. Our lines are \command and builtins, since a step may have defined cd, set or export.
type Driver struct {
	SourceDir string
	Cwd       string
	Literals  [][2]string // boxkit's own variables
	Exports   [][2]string // the step's, $ is live
	Files     []string    // init.sh and run.sh, as far as they exist
}

// text is the driver's. begin is its first line; flags are x and v, switched off since the last driver.
func (d *Driver) text(begin, flags string) string {
	var b strings.Builder
	b.WriteString(begin)
	b.WriteString("\\command set +e\n")
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format+"\n", args...)
		b.WriteString("case $? in 0) ;; *) \\command return 1;; esac\n")
	}
	// A step may have moved the source: setup-go-workspace does (wercker.md "Targets and pipelines").
	line("case \"${WERCKER_SOURCE_DIR-}\" in '') \\command cd %s ;; *) \\command cd \"$WERCKER_SOURCE_DIR\" ;; esac",
		singleQuoted(d.SourceDir))
	for _, pair := range d.Literals {
		fmt.Fprintf(&b, "\\command export %s=%s\n", pair[0], singleQuoted(pair[1]))
	}
	for _, pair := range d.Exports {
		if isName(pair[0]) {
			fmt.Fprintf(&b, "\\command export %s=%s\n", pair[0], liveQuoted(pair[1]))
		} else {
			fmt.Fprintf(&b, "\\command echo %s >&2\n",
				singleQuoted(fmt.Sprintf("sentinel: %q is no name for a variable; it is not exported", pair[0])))
		}
	}
	if d.Cwd != "" {
		fmt.Fprintf(&b, "\\command cd %s\n", liveQuoted(d.Cwd))
		fmt.Fprintf(&b, "case $? in 0) ;; *) \\command echo %s >|\"$WERCKER_REPORT_MESSAGE_FILE\"; \\command return 1;; esac\n",
			singleQuoted("it cannot begin in its cwd: "+d.Cwd))
	}
	if flags != "" {
		fmt.Fprintf(&b, "\\command set -%s; ", flags)
	}
	for i, file := range d.Files {
		fmt.Fprintf(&b, "\\command . %s\n", singleQuoted(file))
		if i < len(d.Files)-1 {
			b.WriteString("case $? in 0) ;; *) \\command return;; esac\n")
		}
	}
	if len(d.Files) == 0 {
		b.WriteString("\\command :\n")
	}
	return b.String()
}

// ScriptText is run.sh of a script step (wercker.md "Steps"): the shebang is a comment, and the sign that the
// script wants no set -e.
func ScriptText(code string) string {
	if strings.HasPrefix(code, "#!") {
		return code + "\n"
	}
	return "set -e\n" + code + "\n"
}

// startText is what a new shell sources before anything else.
func (s *Shell) startText(begin string, inits []string, dump string) string {
	var b strings.Builder
	b.WriteString(begin)
	trap := fmt.Sprintf(`{ \command echo "X %s"; \command set +xv; \command export -p; \command echo "E %s"; } 2>/dev/null >|%s`,
		s.trap, s.trap, singleQuoted(s.host.status.path))
	fmt.Fprintf(&b, "\\command trap %s EXIT\n", singleQuoted(trap))
	b.WriteString(werckerInit)
	if os.Geteuid() == 0 {
		// Where the box runs as root, sudo, present or not, has nothing to add.
		b.WriteString("\\command alias sudo=''\n")
	}
	for _, file := range inits {
		fmt.Fprintf(&b, "\\command . %s\n", singleQuoted(file))
	}
	if dump != "" {
		fmt.Fprintf(&b, "{ \\command . %s; } 2>/dev/null\n", singleQuoted(dump))
	}
	b.WriteString("\\command :\n")
	return b.String()
}

// beginLine is the first line of every driver: from here on the step may have had effects. It leaves a file too: what a
// step writes to the FIFO somebody else may read, and a step that began must never be run again.
func beginLine(nonce, fifo, mark string) string {
	return fmt.Sprintf("{ \\command : >|%s; } 2>/dev/null; \\command echo \"B %s\" >|%s\n",
		singleQuoted(mark), nonce, singleQuoted(fifo))
}
