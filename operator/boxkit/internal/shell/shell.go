// Package shell starts the box's shell and has it run drivers: the text for it, and the answers it gives.
package shell

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"sentinel.wercker.com/boxkit/internal/nonce"
	"sentinel.wercker.com/boxkit/internal/proc"
)

// Shell is one running shell of the box. It reads constant control lines from a pipe that only boxkit writes to, and
// answers on the status FIFO.
type Shell struct {
	pid    int
	Path   string
	Nonce  string // of its EXIT trap
	Stdin  *os.File
	Exited <-chan syscall.WaitStatus
	Dead   bool
	Status syscall.WaitStatus
}

// ErrNoShell means that the box has none that we can run.
var ErrNoShell = errors.New("the box has no shell")

// Find looks for the wanted program, or for bash and then sh, on the box's PATH and where shells usually are.
func Find(wanted []string, env []string) (path string, args []string, err error) {
	names := []string{"bash", "sh"}
	if len(wanted) > 0 {
		names, args = wanted[:1], wanted[1:]
	}
	dirs := []string{}
	for _, pair := range env {
		if list, found := strings.CutPrefix(pair, "PATH="); found {
			dirs = filepath.SplitList(list)
		}
	}
	dirs = append(dirs, "/bin", "/usr/bin", "/usr/local/bin", "/busybox")
	for _, name := range names {
		if strings.Contains(name, "/") {
			dirs = []string{"/"}
		}
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); filepath.IsAbs(path) && err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
				return path, args, nil
			}
		}
	}
	return "", nil, fmt.Errorf("%w: looked for %s in %s", ErrNoShell, strings.Join(names, ", "), strings.Join(dirs, ":"))
}

// Spec says how to start a shell.
type Spec struct {
	Path       string
	Args       []string
	Entrypoint []string
	Env        []string
	Dir        string
	Output     *os.File
	FIFO       string
}

// Start runs a shell with the literal environment. It does nothing yet but read commands.
func Start(r *proc.Reaper, spec Spec) (*Shell, error) {
	if spec.Path == "" {
		return nil, ErrNoShell
	}
	argv := append([]string{spec.Path}, spec.Args...)
	program := spec.Path
	if len(spec.Entrypoint) > 0 {
		found, _, err := Find(spec.Entrypoint[:1], spec.Env)
		if err != nil {
			return nil, fmt.Errorf("%w to be started by: the entrypoint %q is not there", ErrNoShell, spec.Entrypoint[0])
		}
		argv = append(append([]string{}, spec.Entrypoint...), argv...)
		program = found
	}
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return nil, err
	}
	defer syscall.Close(fds[0])
	stdin := os.NewFile(uintptr(fds[1]), "shell")
	dir := spec.Dir
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = "/"
	}
	pid, exited, err := r.Start(program, argv, &syscall.ProcAttr{
		Dir:   dir,
		Env:   spec.Env,
		Files: []uintptr{uintptr(fds[0]), spec.Output.Fd(), spec.Output.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		stdin.Close()
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	// A step that eats all memory should lose, not boxkit. Raising it is allowed to everybody.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0)
	return &Shell{pid: pid, Path: spec.Path, Nonce: nonce.New(), Stdin: stdin, Exited: exited}, nil
}

// StartText is what a new shell sources before anything else.
func (s *Shell) StartText(begin, fifo string, inits []string, dump string) string {
	var b strings.Builder
	b.WriteString(begin)
	trap := fmt.Sprintf(`{ \command echo "X %s"; \command set +xv; \command export -p; \command echo "E %s"; } 2>/dev/null >|%s`,
		s.Nonce, s.Nonce, singleQuoted(fifo))
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

// BeginLine is the first line of every driver: from here on the step may have had effects. It leaves a file too: what a
// step writes to the FIFO somebody else may read, and a step that began must never be run again.
func BeginLine(nonce, fifo, mark string) string {
	return fmt.Sprintf("{ \\command : >|%s; } 2>/dev/null; \\command echo \"B %s\" >|%s\n",
		singleQuoted(mark), nonce, singleQuoted(fifo))
}

// Run has the shell source a file and answer. The line is constant but for the two names in it, and after it the
// options x and v are off, so that nothing of ours is ever traced.
func (s *Shell) Run(file, nonce, fifo string) error {
	_, err := fmt.Fprintf(s.Stdin,
		`\command . %s </dev/null; { \command echo "S %s $? $-"; \command set +xv; \command export -p; \command echo "E %s"; } 2>/dev/null >|%s`+"\n",
		singleQuoted(file), nonce, nonce, singleQuoted(fifo))
	return err
}

// TraceFlags are the options of $- that a driver must switch on again.
func TraceFlags(flags string) string {
	var on string
	for _, option := range "xv" {
		if strings.ContainsRune(flags, option) {
			on += string(option)
		}
	}
	return on
}
