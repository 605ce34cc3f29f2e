package stepkit

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// runExpand replaces $NAME and ${NAME} by the environment's variables, "" for one that is not set, and nothing else.
func runExpand(args []string, in io.Reader, out io.Writer) (int, error) {
	if len(args) > 0 {
		return codeUsage, fmt.Errorf("usage: %s", Usage)
	}
	text, err := io.ReadAll(io.LimitReader(in, requestLimit))
	if err != nil {
		return 1, err
	}
	_, err = out.Write(use.ReplaceAllFunc(text, func(found []byte) []byte {
		return []byte(os.Getenv(strings.Trim(string(found), "${}")))
	}))
	return 0, err
}

var use = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}|\$[A-Za-z_][A-Za-z0-9_]*`)
