package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/health"
	"labd/internal/host"
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
		{Name: "shop-web-1", Project: "shop", Service: "web", State: "running", Health: docker.Healthy, Addresses: addrs("web", "172.18.0.2"), Ports: []docker.Port{
			{Number: 80, Protocol: "tcp", PublishedOn: "0.0.0.0", HostPort: 8080},
			{Number: 80, Protocol: "tcp", PublishedOn: "::", HostPort: 8080},
			{Number: 5432, Protocol: "tcp", PublishedOn: "127.0.0.1", HostPort: 5432},
			{Number: 443, Protocol: "tcp"},
		}},
		{Name: "shop-db-1", Project: "shop", Service: "db", State: "running", Health: docker.Unhealthy, Addresses: addrs("web", "172.18.0.3")},
		{Name: "alone", State: "exited", Addresses: addrs("web")},
		{Name: "proxy", State: "running", HostNetwork: true},
	}
	hung := sampleContainer(t, 102, "172.20.0.0/24")
	hung.Docker, hung.DockerErr = nil, fmt.Errorf("it hangs")
	f := sampleFacts(t, c, hung)
	f.Stopped = []int{103}
	r := Diagnose(f, DefaultPolicy())
	f.Host.Own = r.Want.Routes
	want := `node/pve1 [warn] 2 containers running
  lxc/101 [warn] container 101, running, 10.77.0.101, Docker 28.5.2
    container/101/alone [info] exited
    container/101/proxy [ok] running, host network: the addresses of the LXC container, 10.77.0.101
    project/101/shop [warn] 2 containers
      container/101/shop-db-1 [warn] running, unhealthy, service db, 172.18.0.3
      container/101/shop-web-1 [ok] running, healthy, service web, 172.18.0.2, published 127.0.0.1:5432 to 5432/tcp, 8080 to 80/tcp
      network/101/web [warn] direct, drift
        route/172.18.0.0/24 [ok] via 10.77.0.101 dev vmbr0
    network/101/empty [warn] direct, refused, no Docker container uses it
  lxc/102 [warn] running, 10.77.0.102; its Docker does not answer
  lxc/103 [info] stopped
`
	if diff := cmp.Diff(want, Tree(Diagnose(f, DefaultPolicy()), "pve1").text("")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	p := aliasPolicy("10.99.0.0/16")
	if got := Tree(Diagnose(f, p), "pve1").text(""); !strings.Contains(got, "172.18.0.2 at 10.99.0.2") || !strings.Contains(got, "network/101/web [warn] alias, planned\n") || !strings.Contains(got, "route/10.99.0.0/24 [info] via 10.77.0.101 dev vmbr0, not made") {
		t.Errorf("behind an alias:\n%s", got)
	}
}

// check fails where a parent is better than what is below it, or an id is there twice.
func (i TreeItem) check(t *testing.T, ids map[string]bool) {
	t.Helper()
	if ids[i.ID] {
		t.Errorf("%s is there twice", i.ID)
	}
	ids[i.ID] = true
	for _, child := range i.Children {
		if health.Level(child.Health).Worse(health.Level(i.Health)) {
			t.Errorf("%s is %s, and %s below it %s", i.ID, i.Health, child.ID, child.Health)
		}
		child.check(t, ids)
	}
}

// Whatever is wrong with a network below a container, all above it say so, and each thing is there once.
func TestTreeIsNoBetterThanWhatIsBelow(t *testing.T) {
	for name, change := range map[string]func(f *Facts, p *Policy){
		"nothing made": func(*Facts, *Policy) {},
		"refused":      func(_ *Facts, p *Policy) { p.Pools = prefixes("10.118.0.0/16") },
		"unreachable":  func(f *Facts, _ *Policy) { f.Host.Addresses = f.Host.Addresses[:2] },
		"drift":        func(f *Facts, _ *Policy) { f.Host.Own = Diagnose(f, DefaultPolicy()).Want.Routes[:1] },
		"unknown":      func(f *Facts, _ *Policy) { f.Containers[0].Err = errors.New("it cannot be opened") },
		"Docker hangs": func(f *Facts, _ *Policy) {
			f.Containers[0].DockerErr, f.Containers[0].LastGood = errors.New("it hangs"), true
		},
		"Docker is silent": func(f *Facts, _ *Policy) {
			f.Containers[0].Docker, f.Containers[0].DockerErr = nil, errors.New("it hangs")
		},
		"aliases": func(_ *Facts, p *Policy) { *p = aliasPolicy("10.99.0.0/16") },
		"ignored": func(_ *Facts, p *Policy) { p.Ignore = []string{"lxc/101"} },
	} {
		t.Run(name, func(t *testing.T) {
			c := sampleContainer(t, 101, "172.18.0.0/24")
			c.Docker.Containers = nil
			for i := range 20 {
				project := ""
				if i%3 > 0 {
					project = fmt.Sprintf("p%d", i%3)
				}
				c.Docker.Containers = append(c.Docker.Containers, docker.Container{Name: fmt.Sprintf("box%d", i), Project: project, State: "running", Addresses: addrs("web", fmt.Sprintf("172.18.0.%d", i+2))})
			}
			f, p := sampleFacts(t, c, sampleContainer(t, 102, "172.19.0.0/24"), sampleContainer(t, 103, "172.18.0.0/24")), DefaultPolicy()
			change(f, &p)
			r := Diagnose(f, p)
			root := Tree(r, "pve1")
			root.check(t, map[string]bool{})
			if worst := finding.Worst(r.Findings).Health(); name != "ignored" && worst.Worse(health.Level(root.Health)) {
				t.Errorf("the node is %s while the worst finding is %s:\n%s", root.Health, worst, root.text(""))
			}
			if lines := strings.Count(root.text(""), "network/101/"); c.Docker != nil && lines > 1 {
				t.Errorf("the network is there %d times", lines)
			}
		})
	}
}

// An unused network that is refused harms nobody: list shows it as a remark, and so does the tree.
func TestTreeUnusedNetworkIsNoWarning(t *testing.T) {
	c, d := sampleContainer(t, 101, "172.18.0.0/24"), sampleContainer(t, 102, "172.18.0.0/24")
	d.Docker.Containers = nil
	f := sampleFacts(t, c, d)
	f.Owners[prefixes("172.18.0.0/24")[0]] = Owner{101, "web"}
	r := Diagnose(f, DefaultPolicy())
	f.Host.Own = r.Want.Routes
	for _, item := range Tree(r, "pve1").Children {
		if item.ID == "lxc/102" && item.Health != HealthInfo {
			t.Errorf("%s", item.text(""))
		}
	}
}

// What has a directory of PVE's and does not run is stopped.
func TestStoppedContainers(t *testing.T) {
	paths := host.DefaultPaths()
	paths.LXC = t.TempDir()
	for _, name := range []string{"101", "102", "lost+found", "9x"} {
		if err := os.Mkdir(filepath.Join(paths.LXC, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o := &Observer{host: host.New(paths, "")}
	if got := o.stopped([]int{101}); !slices.Equal(got, []int{102}) {
		t.Errorf("stopped %v", got)
	}
}
