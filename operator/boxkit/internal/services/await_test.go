package services

import (
	"context"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/wire"
)

func listen(t *testing.T) int {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket.Addr().(*net.TCPAddr).Port
}

// bound is a port that nothing listens on, and that no other process gets; and the socket, on which one may listen.
func bound(t *testing.T) (port, socket int) {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	address, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return address.(*syscall.SockaddrInet4).Port, socket
}

// closed is a port that nothing listens on.
func closed(t *testing.T) int {
	t.Helper()
	port, _ := bound(t)
	return port
}

func await(ctx context.Context, services ...wire.Service) map[string]bool {
	var mu sync.Mutex
	ready := map[string]bool{}
	Await(ctx, services, func(record wire.ServiceRecord) {
		mu.Lock()
		defer mu.Unlock()
		ready[record.Alias] = record.Ready
	})
	return ready
}

func TestServicesAreReadyWithTheirFirstPort(t *testing.T) {
	ready := await(t.Context(),
		wire.Service{Alias: "one", Ports: []int{listen(t)}},
		wire.Service{Alias: "two", Ports: []int{closed(t), listen(t)}}, // not every port is listened on
		wire.Service{Alias: "none"},
	)
	for _, alias := range []string{"one", "two", "none"} {
		if !ready[alias] {
			t.Errorf("%s is not ready", alias)
		}
	}
}

func TestAServiceIsNotWaitedForAfterACancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if ready := await(ctx, wire.Service{Alias: "db", Ports: []int{closed(t)}}); ready["db"] {
		t.Error("it is ready")
	}
}

func TestAServiceThatIsStartedLateIsReady(t *testing.T) {
	port, socket := bound(t)
	time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Listen(socket, 16) })
	if ready := await(t.Context(), wire.Service{Alias: "db", Ports: slices.Repeat([]int{port}, 2)}); !ready["db"] {
		t.Error("it is not ready")
	}
}
