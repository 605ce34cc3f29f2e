package stepkit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A provided tool: an executable file below the tool directory. Its index is tools.json, a list of these.
type tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Path    string `json:"path"`   // relative to the directory
	SHA256  string `json:"sha256"` // of the file, in hexadecimal digits
}

func toolsDir() string {
	if dir := os.Getenv("WERCKER_TOOLS_DIR"); dir != "" {
		return dir
	}
	return "/run/sentinel/tools"
}

// runTool prints the path of a tool: of exactly VERSION, or of the highest. The file must have the digest that the
// index has. It ends with 1 where there is no such tool.
func runTool(args []string, dir string, out io.Writer) (int, error) {
	if len(args) == 0 || len(args) > 2 {
		return codeUsage, fmt.Errorf("usage: %s", Usage)
	}
	version := ""
	if len(args) == 2 {
		version = strings.TrimPrefix(args[1], "v")
	}
	found, err := findTool(dir, args[0], version)
	if err != nil {
		return 1, err
	}
	path := filepath.Join(dir, found.Path)
	if err := verify(path, found); err != nil {
		return 1, err
	}
	_, err = fmt.Fprintln(out, path)
	return 0, err
}

func findTool(dir, name, version string) (tool, error) {
	text, err := os.ReadFile(filepath.Join(dir, "tools.json"))
	if errors.Is(err, os.ErrNotExist) {
		return tool{}, errors.New("the operator provides no tools (setting steps.tools)")
	}
	if err != nil {
		return tool{}, err
	}
	var all []tool
	if err := json.Unmarshal(text, &all); err != nil {
		return tool{}, fmt.Errorf("the operator's tools.json is malformed: %w", err)
	}
	var versions []string
	var best tool
	for _, each := range all {
		if each.Name != name {
			continue
		}
		versions = append(versions, each.Version)
		if version == "" && (best.Name == "" || compareVersions(each.Version, best.Version) > 0) || version == each.Version {
			best = each
		}
	}
	switch {
	case best.Name != "" && !filepath.IsLocal(best.Path):
		return tool{}, fmt.Errorf("the path of %s %s in the operator's tools.json leads out of it", name, best.Version)
	case best.Name != "":
		return best, nil
	case len(versions) == 0:
		return tool{}, fmt.Errorf("the operator does not provide %s", name)
	}
	slices.SortFunc(versions, compareVersions)
	return tool{}, fmt.Errorf("the operator provides %s %s, not %s", name, strings.Join(versions, ", "), version)
}

func verify(path string, of tool) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("the operator's %s %s cannot be read: %w", of.Name, of.Version, err)
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != strings.ToLower(of.SHA256) {
		return fmt.Errorf("the operator's %s %s has sha256 %s; its tools.json has %s", of.Name, of.Version, got, of.SHA256)
	}
	return nil
}

// compareVersions compares dotted numbers by value; what is no number sorts as text.
func compareVersions(a, b string) int {
	left, right := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(left), len(right)) {
		x, errX := strconv.Atoi(left[i])
		y, errY := strconv.Atoi(right[i])
		order := strings.Compare(left[i], right[i])
		if errX == nil && errY == nil {
			order = x - y
		}
		if order != 0 {
			return order
		}
	}
	return len(left) - len(right)
}
