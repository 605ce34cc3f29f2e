package shell

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

var awkward = []string{
	"", "plain", "two words", "it's", `"double"`, `back\slash`, "new\nline\n", "tab\t", "`tick`", "*", "~", "!x", "é\u200b", "-n", "a'b\"c`d\\e",
}

func TestQuotedTextIsWhatTheShellHas(t *testing.T) {
	for _, shell := range []string{"bash", "dash"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Fatalf("this test needs %s", shell)
		}
		for _, text := range awkward {
			for name, quoted := range map[string]string{"single": singleQuoted(text), "live": liveQuoted(text)} {
				out, err := exec.Command(path, "-c", "printf %s "+quoted).Output()
				if err != nil || string(out) != text {
					t.Errorf("%s, %s: %q became %q, %v", shell, name, text, out, err)
				}
			}
		}
	}
}

func TestOnlyADollarIsLive(t *testing.T) {
	command := exec.Command("bash", "-c", "printf %s "+liveQuoted("$A ${B:0:2} $(echo c) `echo d` \\$A"))
	command.Env = append(os.Environ(), "A=1 2", "B=345")
	out, err := command.Output()
	if want := "1 2 34 c `echo d` \\1 2"; err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"A": true, "_a1": true, "A_B": true, "": false, "1A": false, "A-B": false, "A.B": false, "A B": false, "é": false, "A=B": false,
	} {
		if isName(name) != want {
			t.Errorf("isName(%q) is %v", name, !want)
		}
	}
}

func TestADriverHoldsWhatTheStepNeedsInItsOrder(t *testing.T) {
	got := (&Driver{
		SourceDir: "/pipeline/my source",
		Cwd:       "$DIR/x",
		Literals:  [][2]string{{"WERCKER_STEP_ID", "$id"}},
		Exports:   [][2]string{{"WERCKER_A_B", `say "$X"`}, {"BAD-NAME", "x"}},
		Files:     []string{"/pipeline/a/init.sh", "/pipeline/a/run.sh"},
	}).text("BEGIN\n", "x")
	want := strings.Join([]string{
		`BEGIN`,
		`\command set +e`,
		`case "${WERCKER_SOURCE_DIR-}" in '') \command cd '/pipeline/my source' ;; *) \command cd "$WERCKER_SOURCE_DIR" ;; esac`,
		`case $? in 0) ;; *) \command return 1;; esac`,
		`\command export WERCKER_STEP_ID='$id'`,
		`\command export WERCKER_A_B="say \"$X\""`,
		`\command echo 'sentinel: "BAD-NAME" is no name for a variable; it is not exported' >&2`,
		`\command cd "$DIR/x"`,
		`case $? in 0) ;; *) \command echo 'it cannot begin in its cwd: $DIR/x' >|"$WERCKER_REPORT_MESSAGE_FILE"; \command return 1;; esac`,
		`\command set -x; \command . '/pipeline/a/init.sh'`,
		`case $? in 0) ;; *) \command return;; esac`,
		`\command . '/pipeline/a/run.sh'`,
		``,
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAScriptHasSetEUnlessItHasAShebang(t *testing.T) {
	for code, want := range map[string]string{
		"make":              "set -e\nmake\n",
		"":                  "set -e\n\n",
		"#!/bin/bash\nmake": "#!/bin/bash\nmake\n",
		"# comment":         "set -e\n# comment\n",
	} {
		if got := ScriptText(code); got != want {
			t.Errorf("%q became %q, want %q", code, got, want)
		}
	}
}
