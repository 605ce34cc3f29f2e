// Command node does inside a cluster node what systemd and Kubernetes leave to the
// node image: prepare the container before systemd starts, make the control groups
// that the kubelet expects, and set up the pod network.
//
//	node entrypoint COMMAND…   prepare, then become COMMAND (systemd)
//	node cgroups               make kubelet.slice in every hierarchy
//	node network               watch Nodes; write the CNI configuration; keep routes
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch {
	case len(os.Args) > 2 && os.Args[1] == "entrypoint":
		err = entrypoint(os.Args[2:])
	case len(os.Args) == 2 && os.Args[1] == "cgroups":
		err = makeCgroups("kubelet.slice")
	case len(os.Args) == 2 && os.Args[1] == "network":
		err = network()
	default:
		err = fmt.Errorf("usage: node entrypoint COMMAND… | cgroups | network")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}
