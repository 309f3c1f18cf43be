package network

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/network/container"
	"labd/internal/route"
)

// What the interfaces of a container tell of its networks where no Docker answers.
func TestByKernel(t *testing.T) {
	c := sampleContainer(t, 101, "172.18.0.0/24")
	c.Docker = nil
	c.Interfaces = []route.Address{
		{Interface: "eth0", Prefix: netip.MustParsePrefix("10.77.0.101/24")},
		{Interface: "docker0", Prefix: netip.MustParsePrefix("172.17.0.1/16")},
		{Interface: "br-0123456789ab", Prefix: netip.MustParsePrefix("172.19.0.1/16")},
		{Interface: "br-0123456789ab", Prefix: netip.MustParsePrefix("fd19::1/64")},
		{Interface: "br-0123456789ab", Prefix: netip.MustParsePrefix("fe80::1/64")},
		{Interface: "br-fedcba987654", Prefix: netip.MustParsePrefix("172.20.0.1/16")},
		{Interface: "podman1", Prefix: netip.MustParsePrefix("10.89.0.1/24")},
		{Interface: "br-lan", Prefix: netip.MustParsePrefix("172.21.0.1/16")},
		{Interface: "virbr0", Prefix: netip.MustParsePrefix("192.168.122.1/24")},
	}
	stage := c.Rules.Tables["filter"]["DOCKER-ISOLATION-STAGE-1"]
	stage.Rules = append(stage.Rules, netfilter.Rule{Args: strings.Fields("! -s 172.20.0.0/16 -o br-fedcba987654 -j DROP")})
	owners := Owners{prefixes("172.19.0.0/16")[0]: {101, "web_default"}, prefixes("172.17.0.0/16")[0]: {102, "bridge"}}
	got := byKernel(&c, owners)
	network := func(name, bridge string, internal bool, subnets ...string) docker.Network {
		return docker.Network{Name: name, Driver: "bridge", Bridge: bridge, GatewayMode: "nat", GatewayMode6: "nat", Internal: internal, Subnets: prefixes(subnets...)}
	}
	want := &docker.Info{FirewallBackend: "iptables", Networks: []docker.Network{
		network("docker0", "docker0", false, "172.17.0.0/16"),
		network("web_default", "br-0123456789ab", false, "172.19.0.0/16", "fd19::/64"),
		network("br-fedcba987654", "br-fedcba987654", true, "172.20.0.0/16"),
		network("podman1", "podman1", false, "10.89.0.0/24"),
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	c.Rules = &netfilter.Ruleset{}
	if got := byKernel(&c, nil); got.FirewallBackend != "nftables" {
		t.Errorf("a Docker without chains of iptables: backend %s", got.FirewallBackend)
	}
	c.Interfaces = c.Interfaces[len(c.Interfaces)-3 : len(c.Interfaces)-2]
	if got := byKernel(&c, nil); got.FirewallBackend != "iptables" {
		t.Errorf("a Podman: backend %s", got.FirewallBackend)
	}
	c.Interfaces = nil
	if byKernel(&c, nil) != nil {
		t.Error("networks of nothing")
	}
}

// Podman's API does not tell the bridges: the addresses of the interfaces do.
func TestPodmanBridges(t *testing.T) {
	c := sampleContainer(t, 101, "172.18.0.0/24")
	c.Interfaces[1].Interface, c.Rules = "podman1", ruleset(t, "podman")
	c.Docker.Podman, c.Docker.Networks[0].Bridge = true, ""
	c.Docker.Networks = append(c.Docker.Networks, docker.Network{Name: "unused", Driver: "bridge", Subnets: prefixes("172.19.0.0/24")})
	c.findBridges()
	r := Diagnose(sampleFacts(t, c), DefaultPolicy())
	got := verdicts(r)
	if got["101/web"] != VerdictPlanned || r.Networks[1].Bridge != "podman1" || got["101/unused"] != VerdictOK || !strings.Contains(r.Networks[0].Reason, "Podman") {
		t.Errorf("networks %+v", r.Networks)
	}
}

// A Podman without its service, and a Docker that hangs from the start: reached all the same, and said so.
func TestReachableByKernel(t *testing.T) {
	for name, asked := range map[string]error{"no socket": container.ErrNoSocket, "it hangs": context.DeadlineExceeded} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, "podman", netfilter.NFT)
			b.ct.ip("link set br-web down")
			b.ct.ip("link set br-web name podman1")
			b.ct.ip("link set podman1 up")
			b.containers.docker = func(context.Context, int) (*docker.Info, error) { return nil, asked }
			b.run(b.planApply(true))
			b.wantPing(name, true)
			n := b.network("podman1")
			if n.Verdict != VerdictOK || !strings.Contains(n.Reason, "interfaces") {
				t.Errorf("verdict %s (%s)", n.Verdict, n.Reason)
			}
			_, r := b.look()
			if hangs := errors.Is(asked, context.DeadlineExceeded); hangs != (len(finding.Codes(r.Findings, "lxc/101")) > 0) {
				t.Errorf("findings %+v", r.Findings)
			}
			if p := b.probe(boxAddr); p.Network != "network/101/podman1" || !strings.Contains(p.Texts["docker-container"], "no Docker answers") {
				t.Errorf("probe %+v", p)
			}
			// Docker answers again, with the network's name: the prefix stays with the container.
			b.containers.docker = func(context.Context, int) (*docker.Info, error) {
				info := webInfo()
				info.Networks[0].Bridge = "podman1"
				return info, nil
			}
			b.policy.Mode = ModeReconcile
			b.reconcileAll()
			b.wantVerdict("Docker answers", VerdictOK)
			b.wantPing("Docker answers", true)
			b.containers.docker = func(context.Context, int) (*docker.Info, error) { return nil, asked }
			b.clock = lastGoodFor * 2
			if asked == container.ErrNoSocket {
				if n := b.network("web"); n.Verdict != VerdictOK {
					t.Errorf("its name is forgotten: %+v", n)
				}
			}
		})
	}
}

// What is refused of a container whose Docker hangs is no part of what a plan depends on: one look may know of it and the
// next not.
func TestDigestWithoutKernelsNetworks(t *testing.T) {
	digest := func(change func(c *Container)) string {
		c := sampleContainer(t, 102, "172.18.0.0/24")
		c.Docker, c.DockerErr = nil, context.DeadlineExceeded
		change(&c)
		p, err := PlanApply(Diagnose(sampleFacts(t, sampleContainer(t, 101, "172.18.0.0/24"), c), DefaultPolicy()), false)
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest
	}
	known := digest(func(c *Container) {
		c.Interfaces[1].Interface = "docker0"
		c.withKernel(nil)
		if c.Docker == nil {
			t.Error("its interfaces tell nothing")
		}
	})
	if unknown := digest(func(c *Container) { c.Err = context.DeadlineExceeded }); unknown != known {
		t.Error("the digest is another one")
	}
}

// Something that plays Docker is not believed, and neither are its interfaces.
func TestHostileIsNotReadByKernel(t *testing.T) {
	c := sampleContainer(t, 101, "172.18.0.0/24")
	c.Docker, c.Hostile, c.DockerErr = nil, true, docker.ErrTooMany
	c.Interfaces = append(c.Interfaces, route.Address{Interface: "docker0", Prefix: netip.MustParsePrefix("172.17.0.1/16")})
	c.withKernel(nil)
	if c.Docker != nil {
		t.Errorf("believed: %+v", c.Docker)
	}
}
