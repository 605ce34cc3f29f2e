package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// dnsAddress is where dns.service finds the address it serves Docker's resolver on.
const dnsAddress = "/run/node-dns.env"

// entrypoint makes a container of Docker's into a machine that systemd can start on.
func entrypoint(command []string) error {
	// Programs take a writable /sys for a machine of their own; the kernel's is shared.
	if err := syscall.Mount("", "/sys", "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		fmt.Fprintln(os.Stderr, "node: /sys stays writable:", err)
	}
	// The kubelet's mounts must be seen by containers with mountPropagation.
	if err := syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("make / shared: %w", err)
	}
	// /dev/kmsg is missing in some containers and the kubelet insists on it.
	if _, err := os.Stat("/dev/kmsg"); err != nil {
		_ = os.Symlink("/dev/console", "/dev/kmsg")
	}
	if err := writeMachineID(); err != nil {
		return err
	}
	if err := pointResolver(); err != nil {
		return err
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, command, append(os.Environ(), "container=docker"))
}

// writeMachineID gives each node an identity of its own: all come from one image.
func writeMachineID() error {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	_ = os.Remove("/etc/machine-id")
	return os.WriteFile("/etc/machine-id", []byte(hex.EncodeToString(id)+"\n"), 0o444)
}

// nodeNetwork is the node's IPv4 address on Docker's network, and that network.
func nodeNetwork() (address, network string, err error) {
	device, err := net.InterfaceByName("eth0")
	if err != nil {
		return "", "", err
	}
	addresses, err := device.Addrs()
	if err != nil {
		return "", "", err
	}
	for _, found := range addresses {
		if prefix, ok := found.(*net.IPNet); ok && prefix.IP.To4() != nil {
			masked := net.IPNet{IP: prefix.IP.Mask(prefix.Mask), Mask: prefix.Mask}
			return prefix.IP.String(), masked.String(), nil
		}
	}
	return "", "", fmt.Errorf("eth0 has no IPv4 address")
}

// pointResolver names the node's own address as resolver, where dns.service passes
// queries on to Docker's. Docker's 127.0.0.11 means nothing inside a pod.
func pointResolver() error {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || !strings.Contains(string(text), "127.0.0.11") {
		return err
	}
	address, _, err := nodeNetwork()
	if err != nil {
		return err
	}
	if err := os.WriteFile(dnsAddress, []byte("NODE_ADDRESS="+address+"\n"), 0o644); err != nil {
		return err
	}
	// Docker mounts this file: it can be written, not replaced.
	return os.WriteFile("/etc/resolv.conf", []byte(strings.ReplaceAll(string(text), "127.0.0.11", address)), 0o644)
}
