package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// shell is one running shell of the box. It reads constant control lines from a pipe that only boxkit writes to, and
// answers on the status FIFO.
type shell struct {
	pid    int
	path   string
	nonce  string // of its EXIT trap
	stdin  *os.File
	exited <-chan syscall.WaitStatus
	dead   bool
	status syscall.WaitStatus
}

// answer is what a shell says on the FIFO.
type answer struct {
	kind   byte // B: the driver runs; S: it ended; X: the shell ends
	nonce  string
	status int
	flags  string
	dump   []byte // `export -p`
	at     time.Time
}

func newNonce() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// answers parses the FIFO. Anybody in the box may write to it: what does not carry a nonce that is waited for is noise.
type answers struct {
	mu     sync.Mutex
	nonces map[string]bool
	buffer []byte
	since  time.Time // when the answer that is being read began: the dump behind it takes a while
	out    chan answer
}

const answerRoom = 8 << 20

func newAnswers() *answers {
	return &answers{nonces: map[string]bool{}, out: make(chan answer, 64)}
}

func (a *answers) expect(nonces ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.nonces)
	for _, nonce := range nonces {
		a.nonces[nonce] = true
	}
	a.buffer, a.since = nil, time.Time{}
	for {
		select {
		case <-a.out: // of a step that is over
			continue
		default:
		}
		return
	}
}

// take is called by the FIFO's source.
func (a *answers) take(data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.buffer = append(a.buffer, data...)
	for a.parse() {
	}
	if len(a.buffer) > answerRoom {
		a.buffer = nil
	}
}

// parse takes the first whole answer out of the buffer.
func (a *answers) parse() bool {
	at, nonce := -1, ""
	for each := range a.nonces {
		// Two bytes before the nonce say what it is: "B ", "S " or "X ".
		from := 0
		for {
			i := bytes.Index(a.buffer[from:], []byte(each))
			if i < 0 {
				break
			}
			i += from
			if i >= 2 && a.buffer[i-1] == ' ' && bytes.IndexByte([]byte("BSX"), a.buffer[i-2]) >= 0 {
				if at < 0 || i < at {
					at, nonce = i, each
				}
				break
			}
			from = i + len(each)
		}
	}
	if at < 0 {
		return false
	}
	kind := a.buffer[at-2]
	line := bytes.IndexByte(a.buffer[at:], '\n')
	if line < 0 {
		return false
	}
	if a.since.IsZero() {
		a.since = time.Now()
	}
	words := strings.Fields(string(a.buffer[at+len(nonce) : at+line]))
	body := a.buffer[at+line+1:]
	found := answer{kind: kind, nonce: nonce, at: a.since}
	if kind != 'B' {
		end := []byte("E " + nonce + "\n")
		stop := bytes.Index(body, end)
		if stop < 0 {
			return false
		}
		found.dump = bytes.Clone(body[:stop])
		body = body[stop+len(end):]
	}
	if kind == 'S' {
		status, err := strconv.Atoi(strings.Join(words[:min(1, len(words))], ""))
		if err != nil {
			status = 255
		}
		found.status = status
		found.flags = strings.Join(words[min(1, len(words)):], "")
	}
	a.buffer = bytes.Clone(body)
	a.since = time.Time{}
	select {
	case a.out <- found:
	default: // nobody can have this many answers due
	}
	return true
}

// errNoShell means that the box has none that we can run.
var errNoShell = errors.New("the box has no shell")

// findShell looks for the wanted program, or for bash and then sh, on the box's PATH and where shells usually are.
func findShell(wanted []string, env []string) (path string, args []string, err error) {
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
	return "", nil, fmt.Errorf("%w: looked for %s in %s", errNoShell, strings.Join(names, ", "), strings.Join(dirs, ":"))
}

// shellSpec says how to start a shell.
type shellSpec struct {
	path       string
	args       []string
	entrypoint []string
	env        []string
	dir        string
	output     *os.File
	fifo       string
}

// startShell runs a shell with the literal environment. It does nothing yet but read commands.
func startShell(r *reaper, spec shellSpec) (*shell, error) {
	if spec.path == "" {
		return nil, errNoShell
	}
	argv := append([]string{spec.path}, spec.args...)
	program := spec.path
	if len(spec.entrypoint) > 0 {
		found, _, err := findShell(spec.entrypoint[:1], spec.env)
		if err != nil {
			return nil, fmt.Errorf("%w to be started by: the entrypoint %q is not there", errNoShell, spec.entrypoint[0])
		}
		argv = append(append([]string{}, spec.entrypoint...), argv...)
		program = found
	}
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return nil, err
	}
	defer syscall.Close(fds[0])
	stdin := os.NewFile(uintptr(fds[1]), "shell")
	dir := spec.dir
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = "/"
	}
	pid, exited, err := r.start(program, argv, &syscall.ProcAttr{
		Dir:   dir,
		Env:   spec.env,
		Files: []uintptr{uintptr(fds[0]), spec.output.Fd(), spec.output.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		stdin.Close()
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	// A step that eats all memory should lose, not boxkit. Raising it is allowed to everybody.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0)
	return &shell{pid: pid, path: spec.path, nonce: newNonce(), stdin: stdin, exited: exited}, nil
}

// startText is what a new shell sources before anything else.
func (s *shell) startText(begin, fifo string, inits []string, dump string) string {
	var b strings.Builder
	b.WriteString(begin)
	trap := fmt.Sprintf(`{ \command echo "X %s"; \command set +xv; \command export -p; \command echo "E %s"; } 2>/dev/null >|%s`,
		s.nonce, s.nonce, singleQuoted(fifo))
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

// run has the shell source a file and answer. The line is constant but for the two names in it, and after it the
// options x and v are off, so that nothing of ours is ever traced.
func (s *shell) run(file, nonce, fifo string) error {
	_, err := fmt.Fprintf(s.stdin,
		`\command . %s </dev/null; { \command echo "S %s $? $-"; \command set +xv; \command export -p; \command echo "E %s"; } 2>/dev/null >|%s`+"\n",
		singleQuoted(file), nonce, nonce, singleQuoted(fifo))
	return err
}

// exitCode is a wait status as a shell reports it.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// exportsXV are the options of $- that a driver must switch on again.
func exportsXV(flags string) string {
	var on string
	for _, option := range "xv" {
		if strings.ContainsRune(flags, option) {
			on += string(option)
		}
	}
	return on
}
