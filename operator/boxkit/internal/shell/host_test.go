package shell

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/filetest"
)

// starter starts real processes, and waits for each by its own id.
type starter struct{}

func (starter) Start(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	exited := make(chan syscall.WaitStatus, 1)
	go func() {
		var status syscall.WaitStatus
		for {
			if _, err := syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
				break
			}
		}
		exited <- status
	}()
	return pid, exited, nil
}

// room is a Host in a directory of its own, and what its shells print.
type room struct {
	*Host
	t       *testing.T
	dir     string
	printed *os.File
	mended  int
}

func newRoom(t *testing.T) *room {
	t.Helper()
	r := &room{t: t, dir: t.TempDir()}
	for _, name := range []string{"drivers", "spool", "tmp", "source"} {
		if err := os.Mkdir(filepath.Join(r.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	r.printed = read
	r.Host, err = NewHost(r.dir, starter{}, write, func() error {
		r.mended++
		return r.Mend(filepath.Join(r.dir, "tmp"))
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *room) open(argv string, change ...func(s *Spec)) (*Shell, error) {
	words := strings.Fields(argv)
	path, err := exec.LookPath(words[0])
	if err != nil {
		r.t.Fatalf("this test needs %s", words[0])
	}
	spec := Spec{Path: path, Args: words[1:], Env: []string{"PATH=" + os.Getenv("PATH"), "A=1"}, Dir: filepath.Join(r.dir, "source")}
	for _, each := range change {
		each(&spec)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	s, err := r.Start(ctx, spec)
	if err == nil {
		r.t.Cleanup(func() { s.HangUp(r.t.Context()) }) // it has ended by then
	}
	return s, err
}

// run has a shell run a script.
func (r *room) run(s *Shell, script string) (End, error) {
	file := filepath.Join(r.dir, "run.sh")
	filetest.Write(r.t, file, script+"\n")
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	return s.Run(ctx, Driver{SourceDir: filepath.Join(r.dir, "source"), Files: []string{file}})
}

// text is what was printed so far.
func (r *room) text() string {
	r.t.Helper()
	raw, err := r.printed.SyscallConn()
	if err != nil {
		r.t.Fatal(err)
	}
	var all []byte
	buffer := make([]byte, 64<<10)
	for n := 1; n > 0; {
		err := raw.Read(func(fd uintptr) bool {
			n, _ = syscall.Read(int(fd), buffer) // what there is: it does not wait
			return true
		})
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, buffer[:max(n, 0)]...)
	}
	return string(all)
}

func eachShell(t *testing.T, test func(t *testing.T, argv string)) {
	for _, argv := range []string{"bash", "dash", "busybox sh"} {
		t.Run(argv, func(t *testing.T) { test(t, argv) })
	}
}

func TestAShellRunsDriversAndEnds(t *testing.T) {
	eachShell(t, func(t *testing.T, argv string) {
		r := newRoom(t)
		s, err := r.open(argv)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			script string
			exit   int
			alive  bool
			dump   string
		}{
			{"export B=2; echo hello", 0, true, "B="},
			{"false", 1, true, "B="},
			{"return 7", 7, true, "B="},
			{"export C=3; exit 5", 5, false, "C="},
		} {
			end, err := r.run(s, test.script)
			if err != nil || !end.Ran || end.Exit != test.exit || end.At.IsZero() || !strings.Contains(string(end.Dump), test.dump) {
				t.Errorf("%s: %+v, %v; dump %s", test.script, end.Exit, err, end.Dump)
			}
			if s.Alive() != test.alive {
				t.Errorf("%s: alive: %v", test.script, !test.alive)
			}
		}
		if text := r.text(); text != "hello\n" {
			t.Errorf("printed %q", text)
		}
	})
}

func TestAShellThatIsKilledHasItsSignalAsExitCode(t *testing.T) {
	eachShell(t, func(t *testing.T, argv string) {
		r := newRoom(t)
		s, err := r.open(argv)
		if err != nil {
			t.Fatal(err)
		}
		end, err := r.run(s, "kill -KILL $$")
		if err != nil || !end.Ran || end.Exit != 137 || end.Dump != nil || s.Alive() {
			t.Errorf("%+v, %v", end, err)
		}
	})
}

func TestAShellWithoutInputRunsNothing(t *testing.T) {
	r := newRoom(t)
	s, err := r.open("bash")
	if err != nil {
		t.Fatal(err)
	}
	s.stdin.Close()
	end, err := r.run(s, "echo never")
	if err != nil || end.Ran || s.Alive() {
		t.Errorf("%+v, %v", end, err)
	}
}

func TestANewShellHasWhatAnEarlierOneExported(t *testing.T) {
	eachShell(t, func(t *testing.T, argv string) {
		r := newRoom(t)
		s, err := r.open(argv)
		if err != nil {
			t.Fatal(err)
		}
		end, err := r.run(s, "export TEXT='it is\n\"quoted\"'")
		if err != nil {
			t.Fatal(err)
		}
		init := filepath.Join(r.dir, "init.sh")
		filetest.Write(t, init, "greet() { echo \"$A $TEXT\"; }\n")
		s, err = r.open(argv, func(spec *Spec) { spec.Dump, spec.Inits = end.Dump, []string{init} })
		if err != nil {
			t.Fatal(err)
		}
		if end, err := r.run(s, "greet"); err != nil || end.Exit != 0 {
			t.Errorf("%+v, %v", end, err)
		}
		if text := r.text(); text != "1 it is\n\"quoted\"\n" {
			t.Errorf("printed %q", text)
		}
	})
}

func TestTracingStaysOnForSteps(t *testing.T) {
	r := newRoom(t)
	s, err := r.open("bash")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{"set -x", "echo one"} {
		if _, err := r.run(s, script); err != nil {
			t.Fatal(err)
		}
	}
	if text := r.text(); !strings.Contains(text, "+ echo one\none\n") || strings.Contains(text, "export -p") {
		t.Errorf("printed %q", text)
	}
}

func TestADriverIsLeftWhenItsContextEnds(t *testing.T) {
	r := newRoom(t)
	s, err := r.open("bash")
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("long enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	file := filepath.Join(r.dir, "run.sh")
	filetest.Write(t, file, "kill -STOP $$\n")
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	if _, err := s.Run(ctx, Driver{SourceDir: r.dir, Files: []string{file}}); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if !s.Alive() {
		t.Error("it is dead")
	}
	if r.mended == 0 {
		t.Error("nothing was mended meanwhile")
	}
	_ = syscall.Kill(pidOf(t, r.dir), syscall.SIGKILL)
}

func TestADriverThatEndedInTimeIsNotLeftThoughItsContextHasEndedToo(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		exit   int
	}{"answered": {"return 4", 4}, "exited": {"kill -KILL $$", 137}} {
		t.Run(name, func(t *testing.T) {
			for range 10 { // which of two things is looked at first is a matter of chance
				r := newRoom(t)
				s, err := r.open("bash")
				if err != nil {
					t.Fatal(err)
				}
				file, err := r.writeDriver(test.script + "\n")
				if err != nil {
					t.Fatal(err)
				}
				r.status.answers.expect("nonce")
				if err := s.send(file, "nonce"); err != nil {
					t.Fatal(err)
				}
				for len(r.status.answers.out) == 0 && len(s.exited) == 0 {
					time.Sleep(time.Millisecond)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if end, err := s.await(ctx); err != nil || end.Exit != test.exit {
					t.Fatalf("%+v, %v", end, err)
				}
			}
		})
	}
}

// pidOf is the child of ours that works in a directory.
func pidOf(t *testing.T, dir string) int {
	t.Helper()
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if target, _ := os.Readlink(link); strings.HasPrefix(target, dir) {
			var pid int
			for _, c := range strings.Split(link, "/")[2] {
				pid = pid*10 + int(c-'0')
			}
			return pid
		}
	}
	t.Fatalf("nothing works in %s", dir)
	return 0
}

func TestAnAnswerArrivesThoughTheFIFOWasReplaced(t *testing.T) {
	for name, script := range map[string]string{
		"removed":     "rm %s",
		"a directory": "rm %[1]s; mkdir %[1]s",
		"a file":      "rm %[1]s; : >%[1]s",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			s, err := r.open("bash")
			if err != nil {
				t.Fatal(err)
			}
			fifo := filepath.Join(r.dir, "status")
			script := strings.NewReplacer("%[1]s", fifo, "%s", fifo).Replace(script)
			if name == "a directory" {
				script += "; until [ -p " + fifo + " ]; do sleep 0.01; done" // no shell can answer to a directory
			}
			end, err := r.run(s, script+"; return 4")
			if err != nil || !end.Ran || end.Exit != 4 {
				t.Errorf("%+v, %v", end, err)
			}
			if end, err := r.run(s, "return 5"); err != nil || end.Exit != 5 {
				t.Errorf("the next: %+v, %v", end, err)
			}
		})
	}
}

func TestWhyAShellDoesNotStart(t *testing.T) {
	r := newRoom(t)
	file := filepath.Join(r.dir, "not-a-program")
	filetest.Write(t, file, "\x7fELFnonsense")
	if err := os.Chmod(file, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(s *Spec)
		is     error
		text   string
	}{
		"none":                         {func(s *Spec) { s.Path = "" }, ErrNoShell, "the box has no shell"},
		"missing":                      {func(s *Spec) { s.Path = "/missing" }, os.ErrNotExist, "starting /missing"},
		"another machine's":            {func(s *Spec) { s.Path = file }, syscall.ENOEXEC, "exec format error"},
		"no shell":                     {func(s *Spec) { s.Path, s.Args = "/bin/sh", []string{"-c", "exit 3"} }, nil, "ended with 3 when it started"},
		"entrypoint missing":           {func(s *Spec) { s.Entrypoint = []string{"/missing"} }, ErrNoShell, `the entrypoint "/missing" is not there`},
		"entrypoint that runs nothing": {func(s *Spec) { s.Entrypoint = []string{"/bin/false"} }, ErrNoShell, "did not run"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.open("bash", test.change)
			if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAnEntrypointRunsTheShell(t *testing.T) {
	r := newRoom(t)
	s, err := r.open("bash", func(s *Spec) { s.Entrypoint, s.Dir = []string{"env", "FROM=entrypoint"}, "/missing" })
	if err != nil {
		t.Fatal(err)
	}
	if end, err := r.run(s, `[ "$FROM" = entrypoint ]`); err != nil || end.Exit != 0 {
		t.Errorf("%+v, %v", end, err)
	}
}

func TestHangingUpRunsTheStepsTrap(t *testing.T) {
	r := newRoom(t)
	s, err := r.open("bash")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.run(s, "trap 'echo trapped' EXIT"); err != nil {
		t.Fatal(err)
	}
	s.HangUp(t.Context())
	if s.Alive() {
		t.Error("it lives on")
	}
	if text := r.text(); text != "trapped\n" {
		t.Errorf("printed %q", text)
	}
}

func TestWhichShellIsFound(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bash": 0o644, "sh": 0o755, "fish": 0o755} {
		filetest.Write(t, filepath.Join(dir, name), "")
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=relative:" + dir}
	if path, args, err := Find([]string{"fish", "-x"}, env); path != filepath.Join(dir, "fish") || len(args) != 1 || err != nil {
		t.Errorf("%s %q %v", path, args, err)
	}
	if path, _, err := Find([]string{filepath.Join(dir, "sh")}, nil); path != filepath.Join(dir, "sh") || err != nil {
		t.Errorf("%s %v", path, err)
	}
	if path, _, err := Find([]string{"zzz"}, env); path != "" || !errors.Is(err, ErrNoShell) || !strings.Contains(err.Error(), "looked for zzz in relative:"+dir) {
		t.Errorf("%s %v", path, err)
	}
}
