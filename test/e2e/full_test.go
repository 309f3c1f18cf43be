//go:build full

package e2e

import (
	"testing"

	"labd/test/lab"
)

// What make test-full adds: Docker 26, which needs a tree of Debian 13.
func TestNetworkDocker26(t *testing.T) {
	testNetwork(t, "e2e-net26", "docker-26-direct", lab.Container{ID: 101, Root: tree(t, "trixie")}, "net.forward-drop,net.no-route")
}
