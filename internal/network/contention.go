package network

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"labd/internal/finding"
	"labd/internal/netfilter"
)

const (
	// contentionWindow is how long a loss is counted, contentionLosses how many of them within that are worth a finding.
	contentionWindow = 10 * time.Minute
	contentionLosses = 5
	// keptLosses bounds what is remembered of one contention.
	keptLosses = 64
)

// Contention is something of labd's that is taken away again and again.
type Contention struct {
	// Container is whose rules are taken away; 0 for a route, which is Prefix.
	Container int
	Prefix    netip.Prefix
	// Rule says that it is the rule for packets from Prefix that leads to labd's table.
	Rule bool
	// Losses is how often that was within contentionWindow, Last what was found the last time.
	Losses int
	Last   string
}

// contentionKey is what is fought about.
type contentionKey struct {
	container int
	prefix    netip.Prefix
	rule      bool
}

// contentions counts what was lost although labd had made it and nothing else was wanted since. The zero value is empty.
type contentions struct {
	mu     sync.Mutex
	losses map[contentionKey][]time.Time
	last   map[contentionKey]string
}

// lost notes a loss.
func (f *contentions) lost(now time.Time, s contentionKey, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.losses == nil {
		f.losses, f.last = map[contentionKey][]time.Time{}, map[contentionKey]string{}
	}
	list := append(f.losses[s], now)
	f.losses[s], f.last[s] = list[max(0, len(list)-keptLosses):], what
}

// current are the contentions that go on, in a stable order.
func (f *contentions) current(now time.Time) []Contention {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Contention
	for s, list := range f.losses {
		list = slices.DeleteFunc(list, func(at time.Time) bool { return now.Sub(at) >= contentionWindow })
		f.losses[s] = list
		switch {
		case len(list) == 0:
			delete(f.losses, s)
			delete(f.last, s)
		case len(list) >= contentionLosses:
			out = append(out, Contention{Container: s.container, Prefix: s.prefix, Rule: s.rule, Losses: len(list), Last: f.last[s]})
		}
	}
	slices.SortFunc(out, func(a, b Contention) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), a.Prefix.Compare(b.Prefix))
	})
	return out
}

// loss says what of labd's is missing where want should be.
func loss(rs *netfilter.Ruleset) string {
	_, inPlace := rs.Own()
	switch {
	case !rs.HasMark():
		return "all of labd's chains were gone"
	case !inPlace:
		return "a jump to labd's chains was gone or not the first rule any more"
	default:
		return "the rules in labd's chains were others"
	}
}

// managers are beginnings of chain names that tell what manages a packet filter.
var managers = map[string]string{
	"ufw-": "ufw", "ufw6-": "ufw", "f2b-": "fail2ban", "KUBE-": "Kubernetes", "cali-": "Calico", "FLANNEL-": "flannel", "CNI-": "CNI plugins",
	"CILIUM_": "Cilium", "ts-": "Tailscale", "FWD_": "firewalld", "IN_": "firewalld", "INPUT_ZONES": "firewalld", "shorewall": "Shorewall",
	"nm-": "NetworkManager", "CROWDSEC": "CrowdSec", "LIBVIRT_": "libvirt", "NETAVARK": "netavark (Podman)",
}

// suspects name what else manages the packet filter, by its chains.
func suspects(rs *netfilter.Ruleset) []string {
	found := map[string]bool{}
	if rs != nil {
		for _, chains := range rs.Tables {
			for chain := range chains {
				for prefix, name := range managers {
					if strings.HasPrefix(chain, prefix) {
						found[name] = true
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// fought finds the contentions.
func (d *diagnosis) contention() {
	for _, x := range d.facts.Contentions {
		if x.Container == 0 {
			d.find(routeContention(x))
			continue
		}
		for i := range d.facts.Containers {
			if c := &d.facts.Containers[i]; c.ID == x.Container {
				d.find(rulesContention(x, c))
			}
		}
	}
}

func rulesContention(x Contention, c *Container) finding.Finding {
	id := strconv.Itoa(x.Container)
	f := finding.Finding{
		Code: finding.NetRulesFought, Severity: finding.Warn, Subject: finding.LXC(id), Confidence: finding.Certain,
		Title:    fmt.Sprintf("something in container %s takes labd's rules away: %d times in %d minutes", id, x.Losses, int(contentionWindow.Minutes())),
		Cause:    "another program in the container rewrites the packet filter again and again",
		Evidence: []finding.Evidence{{Source: "the last time", Text: x.Last}},
		Remedies: []finding.Remedy{
			{Title: "find the program that rewrites the rules and have it leave the chains LABD-* and their jumps alone", Risk: finding.RiskNone, Commands: []string{
				fmt.Sprintf("pct exec %s -- systemctl list-timers", id), fmt.Sprintf("pct exec %s -- grep -rl iptables /etc/cron.d /etc/cron.daily /etc/network", id),
			}},
			{Title: fmt.Sprintf("or let it be the container's: ignore = [\"lxc/%s\"] below [network] in /etc/labd/labd.toml", id), Risk: finding.RiskLow, Commands: []string{"systemctl reload labd"}},
		},
	}
	if names := suspects(c.Rules); len(names) > 0 {
		f.Cause = fmt.Sprintf("another program in the container rewrites the packet filter again and again; its chains are those of %s", strings.Join(names, ", "))
		f.Evidence = append(f.Evidence, finding.Evidence{Source: "chains in the container", Text: strings.Join(names, ", ")})
	}
	return f
}

func routeContention(c Contention) finding.Finding {
	what := "route to "
	if c.Rule {
		what = "rule for routing from "
	}
	return finding.Finding{
		Code: finding.NetRulesFought, Severity: finding.Warn, Subject: finding.Route(c.Prefix.String()), Confidence: finding.Certain,
		Title:    fmt.Sprintf("something on the host takes labd's %s%s away: %d times in %d minutes", what, c.Prefix, c.Losses, int(contentionWindow.Minutes())),
		Cause:    "another program on the host removes routes or rules that it does not know, as systemd-networkd does with ManageForeignRoutes, or an interface is made anew again and again",
		Evidence: []finding.Evidence{{Source: "the last time", Text: c.Last}},
		Remedies: []finding.Remedy{{
			Title: "see who removes it, and have that program leave routes and rules of protocol labd alone", Risk: finding.RiskNone,
			Commands: []string{"ip monitor route rule", "networkctl list"},
		}},
	}
}
