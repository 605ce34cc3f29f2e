package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/shell"
	"sentinel.wercker.com/boxkit/internal/tree"
	"sentinel.wercker.com/boxkit/internal/wire"
)

// prepare makes the directories and copies that the operator wants before the first step.
func prepare(stale, dirs []string, copies []wire.Copy) error {
	for _, dir := range stale {
		if err := clearDir(dir); err != nil {
			return fmt.Errorf("cannot empty %s as user %d: %w", dir, os.Geteuid(), err)
		}
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make %s as user %d: %w", dir, os.Geteuid(), err)
		}
	}
	for _, each := range copies {
		if _, err := os.Lstat(each.From); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := tree.Copy(each.From, each.To); err != nil {
			return fmt.Errorf("cannot copy %s to %s as user %d: %w", each.From, each.To, os.Geteuid(), err)
		}
	}
	return nil
}

// clearDir removes what is in a directory, and not the directory: it may be where this process was started, or a volume.
// What is no directory of its own, or not there, is left alone.
func clearDir(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.IsDir()) {
		return nil
	} else if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, each := range entries {
		if err := os.RemoveAll(filepath.Join(dir, each.Name())); err != nil && !errors.Is(err, syscall.EBUSY) {
			return err
		}
	}
	return nil
}

// prepareStep makes a step's directories and files, and says which of init.sh and run.sh there are.
func prepareStep(step *wire.Step, open *opened, temp string) (files []string, literals [][2]string, err error) {
	root := filepath.Join(open.pipelineDir, step.ID)
	report := filepath.Join(open.reportDir, step.ID)
	artifacts := filepath.Join(report, "artifacts")
	for _, dir := range []string{artifacts, temp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, nil, err
		}
	}
	run := filepath.Join(root, "run.sh")
	if step.Kind == wire.KindScript {
		if err := os.MkdirAll(root, 0o755); err != nil {
			return nil, nil, err
		}
		if err := safefile.Write(run, []byte(shell.ScriptText(step.Code)), 0o755); err != nil {
			return nil, nil, err
		}
		files = []string{run}
	} else {
		if _, err := os.Stat(step.Dir); err != nil {
			return nil, nil, err
		}
		if err := tree.Copy(step.Dir, root); err != nil {
			return nil, nil, err
		}
		for _, file := range []string{filepath.Join(root, "init.sh"), run} {
			if _, err := os.Stat(file); err == nil {
				files = append(files, file)
			}
		}
	}
	literals = [][2]string{
		{"WERCKER_STEP_ROOT", root},
		{"WERCKER_STEP_ID", step.ID},
		{"WERCKER_STEP_OWNER", step.Owner},
		{"WERCKER_STEP_NAME", step.Name},
		{"WERCKER_STEP_TEMP", temp},
		{"WERCKER_REPORT_NUMBERS_FILE", filepath.Join(report, "numbers.ini")},
		{"WERCKER_REPORT_MESSAGE_FILE", filepath.Join(report, "message.txt")},
		{"WERCKER_REPORT_ARTIFACTS_DIR", artifacts},
	}
	return files, literals, nil
}
