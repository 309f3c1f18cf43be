package network

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"labd/internal/docker"
	"labd/internal/lxc"
	"labd/internal/netfilter"
	"labd/internal/policy"
)

// claims are subnets that a hostile container may say its Docker has; its own kernel plays along and has the addresses.
var claims = []string{
	"0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8", "172.16.0.0/12", "192.168.50.0/24", "192.168.0.0/16", "192.168.50.254/32",
	"10.77.0.0/24", "10.77.0.101/32", "172.18.0.0/24", "172.18.0.0/25", "172.18.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32",
	"::/0", "2000::/3", "fe80::/64", "ff00::/8", "::1/128", "::ffff:0:0/96", "fd50::/64", "fd77::/64", "fd18::/64", "64:ff9b::/96", "fc00::/7",
}

// Whatever a hostile container claims, the routes and the rules of the others stay as they are, the others are served, and
// of the hostile one nothing is on the host.
func TestHostileClaims(t *testing.T) {
	b := newBed(t, "docker-28.5", netfilter.NFT)
	b.dual("docker-28.5-ipv6", netfilter.NFT)
	b.policy.Pools = append(b.policy.Pools, prefixes("fc00::/7", "2000::/3")...)
	b.policy.MaxNetworks = len(claims)
	hostile := b.addTwin("docker-28.5")
	hostile.ip("-6 addr add fd77::102/64 dev eth0 nodad")
	honest := b.containers.docker
	b.containers.docker = func(ctx context.Context, id int) (*docker.Info, error) {
		if id == ctID {
			return honest(ctx, id)
		}
		info := &docker.Info{FirewallBackend: "iptables"}
		for i, claim := range claims {
			info.Networks = append(info.Networks, docker.Network{ID: fmt.Sprint(i), Name: fmt.Sprintf("n%d", i), Driver: "bridge", Bridge: "br-web", GatewayMode: "nat", GatewayMode6: "nat", Subnets: prefixes(claim)})
		}
		return info, nil
	}
	// Who answers for an address on the wire is for the bridge's own filters to say, not for labd.
	hostile.sysctl("net.ipv4.conf.all.arp_ignore=1")
	for _, claim := range claims {
		// What its kernel does not take, as multicast, it cannot even play.
		_, _ = hostile.output("", "ip", "addr", "add", strings.Replace(claim, ".0/", ".3/", 1), "dev", "br-web")
	}
	routes := b.host.run("ip", "route", "show", "table", "all") + b.host.run("ip", "-6", "route", "show", "table", "all", "proto", "176")
	b.run(b.planApply(true))
	b.wantPing("beside a hostile container", true)
	b.wantPingTo("beside a hostile container", box6, true)
	got := b.host.run("ip", "-4", "route", "show", "table", "all", "proto", "176") + b.host.run("ip", "-6", "route", "show", "table", "all", "proto", "176")
	if strings.Contains(got, "10.77.0.102") || strings.Contains(got, "fd77::102") || strings.Count(got, "\n") != 2 {
		t.Errorf("routes of labd's:\n%s", got)
	}
	if rules := hostile.rules(netfilter.NFT); strings.Contains(rules, "LABD") {
		t.Errorf("rules in the hostile container:\n%s", rules)
	}
	b.off()
	if after := b.host.run("ip", "route", "show", "table", "all") + b.host.run("ip", "-6", "route", "show", "table", "all", "proto", "176"); after != routes {
		t.Errorf("the host's routes are not as before:\n%s\nbefore:\n%s", after, routes)
	}
}

// A container that takes all its time, says too much or is not who it seems costs the others nothing.
func TestHostileAnswersDoNotDelayOthers(t *testing.T) {
	for name, answer := range map[string]func(ctx context.Context) error{
		"a byte a second": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"1 GB":            func(context.Context) error { return docker.ErrTooLarge },
		"100,000":         func(context.Context) error { return docker.ErrTooMany },
		"another's":       func(context.Context) error { return lxc.ErrForeignPeer },
		"nonsense":        func(context.Context) error { return docker.ErrMalformed },
		"a magic link": func(context.Context) error {
			return errors.New("open in the container /run/docker.sock: too many levels of symbolic links")
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, "docker-20.10", netfilter.NFT)
			b.observer.policy.Timeout = policy.Duration(400 * time.Millisecond)
			hostile := b.addTwin("docker-20.10")
			b.containers.docker = func(ctx context.Context, id int) (*docker.Info, error) {
				if id == ctID {
					return webInfo(), nil
				}
				return nil, answer(ctx)
			}
			begun := time.Now()
			b.observe()
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("the look took %s", took)
			}
			b.run(b.planApply(true))
			b.wantPing(name, true)
			if rules := hostile.rules(netfilter.NFT); strings.Contains(rules, "LABD") {
				t.Errorf("rules in the hostile container:\n%s", rules)
			}
		})
	}
}

// A start of the container that ended between the look and the change is not touched, and neither is who took its place.
func TestRestartBetweenLookAndChange(t *testing.T) {
	b := newBed(t, "docker-20.10", netfilter.NFT)
	_, r := b.look()
	p, err := PlanApply(r, true)
	if err != nil {
		t.Fatal(err)
	}
	other := newSpace(t) // the same id, another start
	b.containers.pids[ctID] = other.pid
	if _, err := b.runner.Apply(t.Context(), p, "test"); err == nil {
		t.Error("the plan for another start was applied")
	}
	if rules := other.rules(netfilter.NFT) + b.ct.rules(netfilter.NFT); strings.Contains(rules, "LABD") {
		t.Errorf("rules:\n%s", rules)
	}
	if routes := b.host.run("ip", "route", "show", "table", "all", "proto", "176"); routes != "" {
		t.Errorf("routes: %s", routes)
	}
}
