package services

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sentinel.wercker.com/boxkit/internal/wire"
)

func TestAliasesComeBackIntoAHostsFileThatIsWrittenAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	services := []wire.Service{{Alias: "redis"}, {Alias: "my_db", Hosts: true}, {Alias: "Web", Hosts: true}}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	until := func(want string) {
		t.Helper()
		deadline := time.Now().Add(2 * time.Minute)
		for {
			got, err := os.ReadFile(path)
			if err == nil && string(got) == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %q, want %q", got, want)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	const ours = "127.0.0.1\tmy_db\n127.0.0.1\tWeb\n"
	write("127.0.0.1 localhost")
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		KeepHosts(ctx, path, services)
		close(done)
	}()
	until("127.0.0.1 localhost\n" + ours)
	write("# anew\n")
	until("# anew\n" + ours)
	write("# half\n127.0.0.1\tmy_db\n")
	until("# half\n" + ours)
	stop()
	<-done
}

func TestAHostsFileThatIsNotThereIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	if err := AddHosts(path, []wire.Service{{Alias: "redis"}}); err != nil {
		t.Errorf("nothing to add: %v", err)
	}
	if err := AddHosts(path, []wire.Service{{Alias: "my_db", Hosts: true}}); !os.IsNotExist(err) {
		t.Errorf("got %v, want that it does not exist", err)
	}
}
