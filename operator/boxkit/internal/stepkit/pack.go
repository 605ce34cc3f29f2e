package stepkit

import (
	"fmt"
	"io"
	"os"

	"sentinel.wercker.com/boxkit/internal/tree"
)

// runPack writes the contents of a directory but its .git as a tar.gz to a new file: not every box has tar and gzip.
func runPack(args []string, diagnostics io.Writer) (int, error) {
	if len(args) != 2 {
		return codeUsage, fmt.Errorf("usage: %s", Usage)
	}
	file, err := os.OpenFile(args[1], os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 1, err
	}
	defer file.Close()
	packed, err := tree.PackContents(args[0], ".git", file)
	switch {
	case err != nil:
		return 1, err
	case packed.Empty:
		return 1, fmt.Errorf("%s is empty", args[0])
	case packed.Notice != "":
		fmt.Fprintln(diagnostics, packed.Notice)
	}
	return 0, file.Close()
}
