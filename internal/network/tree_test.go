package network

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labd/internal/docker"
)

// text is the tree with an indent for each level.
func (t TreeItem) text(indent string) string {
	out := fmt.Sprintf("%s%s [%s] %s\n", indent, t.ID, t.Health, t.State)
	for _, child := range t.Children {
		out += child.text(indent + "  ")
	}
	return out
}

func TestTree(t *testing.T) {
	c := sampleContainer(t, 101, "172.18.0.0/24")
	c.Name, c.Docker.Version = "docker", "28.5.2"
	c.Docker.Networks = append(c.Docker.Networks, docker.Network{Name: "empty", Driver: "bridge", Bridge: "br-e", Subnets: prefixes("172.19.0.0/24")})
	c.Docker.Containers = []docker.Container{
		{Name: "shop-web-1", Project: "shop", Service: "web", State: "running", Health: docker.Healthy, Addresses: addrs("web", "172.18.0.2")},
		{Name: "shop-db-1", Project: "shop", Service: "db", State: "running", Health: docker.Unhealthy, Addresses: addrs("web", "172.18.0.3")},
		{Name: "alone", State: "exited", Addresses: addrs("web")},
	}
	hung := sampleContainer(t, 102, "172.20.0.0/24")
	hung.Docker, hung.DockerErr = nil, fmt.Errorf("it hangs")
	f := sampleFacts(t, c, hung)
	r := Diagnose(f, DefaultPolicy())
	f.Host.Own = r.Want.Routes
	want := `node/pve1 [warn] 2 containers run
  lxc/101 [warn] running, 10.77.0.101, Docker 28.5.2
    container/101/alone [info] exited
    project/101/shop [warn] 2 containers
      container/101/shop-db-1 [warn] running, unhealthy, service db
        network/101/web [warn] direct, drift, 172.18.0.3
          route/172.18.0.0/24 [ok] via 10.77.0.101 dev vmbr0
      container/101/shop-web-1 [ok] running, healthy, service web
        network/101/web [warn] direct, drift, 172.18.0.2
          route/172.18.0.0/24 [ok] via 10.77.0.101 dev vmbr0
    network/101/empty [warn] direct, refused
  lxc/102 [warn] running, 10.77.0.102
`
	if diff := cmp.Diff(want, Tree(Diagnose(f, DefaultPolicy()), "pve1").text("")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	p := aliasPolicy("10.99.0.0/16")
	if got := Tree(Diagnose(f, p), "pve1").text(""); !strings.Contains(got, "alias, planned, 172.18.0.2 at 10.99.0.2") || !strings.Contains(got, "route/10.99.0.0/24 [info] via 10.77.0.101 dev vmbr0, not made") {
		t.Errorf("behind an alias:\n%s", got)
	}
}
