package session

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"sentinel.wercker.com/boxkit/internal/nonce"
	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// literalEnv is the image's environment with the build's laid over it, in order; what is boxkit's own is left out.
func literalEnv(base []string, over [][2]string) []string {
	at := map[string]int{}
	var env []string
	set := func(name, value string) {
		if strings.HasPrefix(name, "SENTINEL_") || name == "" || strings.ContainsAny(name, "=\x00") {
			return
		}
		pair := name + "=" + strings.ReplaceAll(value, "\x00", "")
		if i, found := at[name]; found {
			env[i] = pair
			return
		}
		at[name] = len(env)
		env = append(env, pair)
	}
	for _, pair := range base {
		name, value, _ := strings.Cut(pair, "=")
		set(name, value)
	}
	for _, pair := range over {
		set(pair[0], pair[1])
	}
	return env
}

const environmentMax = 1 << 20 // as much as the operator gives a build

// exports is `export -p` of the last step boundary; nil before the first.
type exports struct {
	mu   sync.Mutex
	dump []byte
}

func (e *exports) set(dump []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dump = dump
}

func (e *exports) get() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dump
}

// capturer runs a program and returns what it printed: proc.Reaper.
type capturer interface {
	Capture(path string, argv, env []string) ([]byte, error)
}

// environment is what the last step exported, read back by a shell of its own: only a shell understands what a shell
// wrote. Values that are no UTF-8 are not given exactly.
func environment(o *opened, dump []byte, spool string, programs capturer) ([][2]string, error) {
	pairs := o.env
	if dump != nil {
		if o.shell == "" {
			return nil, wire.Refuse("NoShell", "%v", o.shellError)
		}
		out, err := readBack(o, dump, spool, programs)
		if err != nil {
			return nil, wire.Refuse("NoShell", "reading the environment back: %v", err)
		}
		pairs = strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var result [][2]string
	size := 0
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if found && name != "_" && name != "SHLVL" {
			if size += len(pair) + 1; size > environmentMax {
				return nil, wire.Refuse("EnvironmentTooLarge", "the steps export more than %d bytes", environmentMax)
			}
			result = append(result, [2]string{name, value})
		}
	}
	return result, nil
}

func readBack(o *opened, dump []byte, spool string, programs capturer) ([]byte, error) {
	file := filepath.Join(spool, nonce.New())
	if err := safefile.Write(file, dump, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append([]string{o.shell}, o.shellArgs...)
	argv = append(argv, "-c", `\command . "$0" 2>/dev/null; \command exec "$1" env`, file, self)
	return programs.Capture(o.shell, argv, o.env)
}
