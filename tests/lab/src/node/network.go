package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	podNetwork = "10.244.0.0/16" // kind's default
	kubeconfig = "/etc/kubernetes/kubelet.conf"
	cniFile    = "/etc/cni/net.d/10-lab.conflist"
	columns    = `{.metadata.name}{" "}{.spec.podCIDR}{" "}{.status.addresses[?(@.type=="InternalIP")].address}{"\n"}`
)

// conflist is the network of one node's pods: a pair of interfaces for each, an
// address out of the node's range, host ports.
const conflist = `{
  "cniVersion": "0.4.0",
  "name": "lab",
  "plugins": [
    {"type": "ptp", "ipMasq": false, "mtu": %d,
     "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam", "routes": [{"dst": "0.0.0.0/0"}],
              "ranges": [[{"subnet": "%s"}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// network follows the cluster's Nodes for as long as the node lives.
func network() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	if err := confine(); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(kubeconfig); err == nil {
			if err := follow(name); err != nil {
				fmt.Fprintln(os.Stderr, "node: watching nodes:", err)
			}
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// confine refuses, at once and with an error the sender sees, what would leave the
// cluster and its network: there is nothing out there. That includes addresses of
// Services that kube-proxy has no rule for yet; dropped, their first connections
// would hang for half a minute.
func confine() error {
	_, network, err := nodeNetwork()
	if err != nil {
		return err
	}
	const chain = "LAB-CONFINE"
	_ = run("iptables", "-w", "-N", chain) // It is there when the node was restarted.
	rules := [][]string{{"-F", chain}}
	for _, inside := range []string{podNetwork, network, "127.0.0.0/8"} {
		rules = append(rules, []string{"-A", chain, "-d", inside, "-j", "RETURN"})
	}
	rules = append(rules, []string{"-A", chain, "-j", "REJECT", "--reject-with", "icmp-net-unreachable"})
	for _, hook := range []string{"FORWARD", "OUTPUT"} {
		if run("iptables", "-w", "-C", hook, "-j", chain) != nil {
			rules = append(rules, []string{"-A", hook, "-j", chain})
		}
	}
	for _, rule := range rules {
		if err := run("iptables", append([]string{"-w"}, rule...)...); err != nil {
			return err
		}
	}
	return nil
}

// follow reads one watch to its end.
func follow(self string) error {
	watch := exec.Command("kubectl", "--kubeconfig", kubeconfig, "get", "nodes", "--watch", "-o", "jsonpath="+columns)
	output, err := watch.StdoutPipe()
	if err != nil {
		return err
	}
	watch.Stderr = os.Stderr
	if err := watch.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue // No range or no address yet; another event will tell.
		}
		if fields[0] == self {
			err = writeNetwork(fields[1])
		} else {
			err = run("ip", "route", "replace", fields[1], "via", fields[2])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "node:", err)
		}
	}
	return errors.Join(lines.Err(), watch.Wait())
}

// writeNetwork puts the CNI configuration in place, whole or not at all, and hides
// pods' addresses from everything outside the cluster, which has no way back to them.
func writeNetwork(subnet string) error {
	text := fmt.Sprintf(conflist, 1500, subnet)
	if old, err := os.ReadFile(cniFile); err == nil && string(old) == text {
		return nil
	}
	rule := []string{"POSTROUTING", "-s", subnet, "!", "-d", podNetwork, "-m", "comment", "--comment", "lab: leave the cluster as the node", "-j", "MASQUERADE"}
	if run("iptables", append([]string{"-w", "-t", "nat", "-C"}, rule...)...) != nil {
		if err := run("iptables", append([]string{"-w", "-t", "nat", "-A"}, rule...)...); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(cniFile), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(cniFile+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(cniFile+".new", cniFile)
}

func run(name string, args ...string) error {
	output, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
