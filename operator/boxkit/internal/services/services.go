// Package services waits for a build's services and makes their names resolve.
package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"sentinel.wercker.com/boxkit/internal/safefile"
	"sentinel.wercker.com/boxkit/internal/wire"
)

const (
	serviceWait  = 30 * time.Second // for a service's first port
	serviceOther = time.Second      // for its other ports, once one accepts: not every exposed port is listened on
	hostsEvery   = 100 * time.Millisecond
)

// Await tries every service's ports until one accepts, all services at once, and reports each one.
func Await(ctx context.Context, services []wire.Service, report func(wire.ServiceRecord)) {
	var waiting sync.WaitGroup
	for _, each := range services {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			began := time.Now()
			ready := awaitPorts(ctx, each.Ports)
			report(wire.ServiceRecord{Alias: each.Alias, Ready: ready, Seconds: time.Since(began).Seconds()})
		}()
	}
	waiting.Wait()
}

func awaitPorts(ctx context.Context, ports []int) bool {
	if len(ports) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, serviceWait)
	defer cancel()
	accepted := make(chan struct{}, len(ports))
	for _, port := range ports {
		go func() {
			if awaitPort(ctx, port) {
				accepted <- struct{}{}
			}
		}()
	}
	for seen := range len(ports) {
		select {
		case <-accepted:
			if seen == 0 {
				time.AfterFunc(serviceOther, cancel)
			}
		case <-ctx.Done():
			return seen > 0
		}
	}
	return true
}

func awaitPort(ctx context.Context, port int) bool {
	dialer := net.Dialer{Timeout: time.Second}
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

const HostsFile = "/etc/hosts"

// AddHosts makes aliases that are no DNS names resolve, where they do not yet. Only root may; a box of another user goes
// without.
func AddHosts(path string, services []wire.Service) error {
	there, err := safefile.Read(path, 1<<20)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var lines []byte
	for _, each := range services {
		line := fmt.Appendf(nil, "127.0.0.1\t%s\n", each.Alias)
		if each.Hosts && !bytes.Contains(there, line) {
			lines = append(lines, line...)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	if len(there) > 0 && there[len(there)-1] != '\n' {
		lines = append([]byte{'\n'}, lines...)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(lines)
	return err
}

// KeepHosts adds them again whenever they are gone: the kubelet writes the file again for each container of the pod that
// it starts, and services may start long after the box.
func KeepHosts(ctx context.Context, path string, services []wire.Service) {
	for AddHosts(path, services) == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(hostsEvery):
		}
	}
}
