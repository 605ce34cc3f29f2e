package shell

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

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
