package guest

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the test's own program be boxkit run: it waits for any child, which a test's process must not.
func TestMain(m *testing.M) {
	if os.Getenv("GUEST") != "" {
		os.Exit(Main(os.Args[1:], os.Stderr))
	}
	os.Exit(m.Run())
}

func start(t *testing.T, argv ...string) (*exec.Cmd, *bufio.Reader, *bytes.Buffer) {
	t.Helper()
	command := exec.Command(os.Args[0], argv...)
	command.Env = append(os.Environ(), "GUEST=1")
	var diagnostics bytes.Buffer
	command.Stderr = &diagnostics
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	return command, bufio.NewReader(out), &diagnostics
}

func code(command *exec.Cmd) int {
	_ = command.Wait()
	return command.ProcessState.ExitCode()
}

func TestItEndsAsItsProgramDoes(t *testing.T) {
	for _, test := range []struct {
		argv []string
		code int
		says string
	}{
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "sleep 0.2 & exit 0"}, 0, ""},
		{[]string{"sh", "-c", "kill -9 $$"}, 137, ""},
		{[]string{"no-such-program"}, 127, "not found"},
		{[]string{"/etc/passwd"}, 126, "permission denied"},
		{nil, 127, "no program"},
	} {
		command, _, diagnostics := start(t, test.argv...)
		if got := code(command); got != test.code || !strings.Contains(diagnostics.String(), test.says) {
			t.Errorf("%q ended with %d (%s), want %d (%s)", test.argv, got, diagnostics, test.code, test.says)
		}
	}
}

func TestSignals(t *testing.T) {
	for _, test := range []struct {
		name   string
		signal syscall.Signal
		code   int
	}{
		{"TERM is passed on", syscall.SIGTERM, 3},
		{"kill is not a matter of the program's", killed, 137},
	} {
		command, out, _ := start(t, "sh", "-c", `trap 'exit 3' TERM; trap '' USR1; echo ready; while :; do sleep 0.1; done`)
		if line, err := out.ReadString('\n'); line != "ready\n" {
			t.Fatalf("%s: %q, %v", test.name, line, err)
		}
		if err := command.Process.Signal(test.signal); err != nil {
			t.Fatal(err)
		}
		if got := code(command); got != test.code {
			t.Errorf("%s: it ended with %d, want %d", test.name, got, test.code)
		}
	}
}
