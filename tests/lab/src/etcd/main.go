// Command etcd is the etcd server, built from its module because Debian's is
// older than what kubeadm's manifest asks of it.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
