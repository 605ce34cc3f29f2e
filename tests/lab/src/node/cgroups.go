package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	cgroupRoot  = "/sys/fs/cgroup"
	cgroupMagic = 0x27e0eb // CGROUP_SUPER_MAGIC: version 1
)

// makeCgroups makes the named groups in every version 1 hierarchy. The kubelet
// refuses to start while the root of its own groups is missing from one of them.
func makeCgroups(names ...string) error {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return nil // Version 2: the kubelet makes what it needs.
	}
	hierarchies, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		root := filepath.Join(cgroupRoot, hierarchy.Name())
		var info syscall.Statfs_t
		// Beside the hierarchies lie links and the empty places of absent controllers.
		if syscall.Statfs(root, &info) != nil || info.Type != cgroupMagic {
			continue
		}
		for _, name := range names {
			group := filepath.Join(root, name)
			if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			if err := fillCpuset(root, group); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillCpuset copies the parent's processors and memory nodes: a version 1 cpuset
// starts empty and takes no process until it has both.
func fillCpuset(parent, group string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, name))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(group, name), []byte(strings.TrimSpace(string(value))), 0o644); err != nil {
			return err
		}
	}
	return nil
}
