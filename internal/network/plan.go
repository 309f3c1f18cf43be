package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/netfilter"
	"labd/internal/plan"
	"labd/internal/route"
)

// Names of the operations.
const (
	opSwitch  = "network.switch"
	opForward = "network.forwarding"
	opSysctl  = "network.sysctl"
	opRoutes  = "network.routes"
	opRules   = "network.rules"
	opCleanup = "network.sweep"
)

// guards are the facts that a plan of this domain depends on.
type guards struct {
	Action  string            `json:"action"`
	Switch  string            `json:"switch"`
	Routes  routesParams      `json:"routes"`
	Rules   []rulesParams     `json:"rules"`
	Forward plan.Set          `json:"forward"`
	Sysctls []sysctlParams    `json:"sysctls,omitempty"`
	Opens   plan.Set          `json:"opens"`
	Refused map[string]string `json:"refused"`
}

// PlanApply is what makes the routes and rules that are missing, once; with on it also stores that they be kept so.
func PlanApply(r *Report, on bool) (*plan.Plan, error) {
	f := r.facts
	p := &plan.Plan{Title: "Make the routes and rules of Docker networks"}
	if on {
		p.Title = "Make the routes and rules of Docker networks, and keep them so"
	}
	g := guards{Action: "apply", Switch: f.Switch, Routes: diffRoutes(f, r), Rules: diffRules(f, r), Refused: map[string]string{}}
	for _, n := range r.Networks {
		if len(n.Routes) > 0 && n.Verdict != VerdictOK {
			p.Subjects = append(p.Subjects, n.Subject())
		}
		if n.Verdict == VerdictRefused {
			// What is left alone of a container whose Docker does not answer differs from look to look.
			if !n.unasked {
				g.Refused[string(n.Subject())] = n.Reason
			}
			p.Notes = append(p.Notes, fmt.Sprintf("%s is left alone: %s", n.Subject(), n.Reason))
		}
	}
	g.Sysctls = sysctls6(f, r)
	for _, name := range r.Want.Forwarding {
		if !f.Host.Forwarding[name] {
			g.Forward = append(g.Forward, name)
		}
	}
	for _, route := range g.Routes.Remove {
		p.Subjects = append(p.Subjects, finding.Route(route.Dst.String()))
	}
	g.Opens = opens(f, r)
	p.Notes = append(p.Notes, g.Opens...)
	if on {
		g.Action = "on"
		if f.Switch != SwitchOn {
			if err := addStep(p, opSwitch, switchParams{SwitchOn}, plan.Step{
				Title: "Store that labd keeps routes and rules so", How: "write network-switch in the state directory", Verified: "read it again",
				Undone: "store the former switch", Risk: finding.RiskLow, Undoable: true,
			}); err != nil {
				return nil, err
			}
		}
	}
	if len(g.Forward) > 0 {
		p.Notes = append(p.Notes, "Forwarding is turned on for the named interfaces alone: net.ipv4.ip_forward would be inherited by every container that starts later, and Docker up to 27 then no longer closes its networks")
	}
	if f.Switch == SwitchOff && !on {
		p.Notes = append(p.Notes, "labctl net off is in force: this is made once and not kept so; labctl net on keeps it")
	}
	if err := addApplySteps(p, g); err != nil {
		return nil, err
	}
	var err error
	p.Digest, err = plan.Digest(g)
	return p, err
}

// addStep adds a step with its parameters.
func addStep(p *plan.Plan, op string, params any, words plan.Step) error {
	step, err := plan.NewStep(op, params, words)
	if err != nil {
		return err
	}
	p.Steps = append(p.Steps, step)
	return nil
}

func addApplySteps(p *plan.Plan, g guards) error {
	for _, s := range g.Sysctls {
		if err := addStep(p, opSysctl, s, plan.Step{
			Title: sysctlTitle(s), How: fmt.Sprintf("sysctl %s=%s", s.Name, s.Value),
			Verified: "read it again", Undone: "set the former value", Risk: finding.RiskLow, Undoable: true,
		}); err != nil {
			return err
		}
	}
	for _, name := range g.Forward {
		if err := addStep(p, opForward, forwardParams{name}, plan.Step{
			Title: fmt.Sprintf("Let the host forward what comes in on %s", name), How: fmt.Sprintf("sysctl net.ipv4.conf.%s.forwarding=1", name),
			Verified: "read it again", Undone: "set the former value", Risk: finding.RiskLow, Undoable: true,
		}); err != nil {
			return err
		}
	}
	// Rules before routes: a packet that the route brings finds the door open.
	for _, rules := range g.Rules {
		if err := addStep(p, opRules, rules, plan.Step{
			Title:    fmt.Sprintf("Put %d rules into container %d", rules.len(), rules.Container),
			How:      rules.how(),
			Verified: "read the chains and the place of their jumps again", Undone: "put the former rules of labd back, or take the chains away",
			Risk: finding.RiskLow, Undoable: true,
		}); err != nil {
			return err
		}
	}
	if g.Routes.len() == 0 {
		return nil
	}
	var parts []string
	for _, r := range g.Routes.AddRules {
		parts = append(parts, "use them for packets from "+r.Who())
	}
	for _, r := range g.Routes.Add {
		parts = append(parts, "add "+r.String())
	}
	for _, r := range g.Routes.Remove {
		parts = append(parts, "remove "+r.String())
	}
	for _, r := range g.Routes.RemoveRules {
		parts = append(parts, "no longer use them for packets from "+r.Who())
	}
	return addStep(p, opRoutes, g.Routes, plan.Step{
		Title: fmt.Sprintf("Routes of the host: %s", strings.Join(parts, "; ")), How: fmt.Sprintf("netlink, table %d with a rule for each source (ip rule), protocol %d; routes and rules of others are not touched", route.Table, route.Protocol),
		Verified: "list the routes and rules with this protocol again", Undone: "take the added ones away and put the removed ones back", Risk: finding.RiskLow, Undoable: true,
	})
}

// diffRoutes are the routes that are missing, and those with labd's mark that nobody wants any more. A container that
// could not be asked keeps its routes.
func diffRoutes(f *Facts, r *Report) routesParams {
	out := routesParams{Add: []route.Route{}, Remove: []route.Route{}, Owners: r.Want.Owners}
	there, wanted := make(map[route.Route]bool, len(f.Host.Own)), make(map[route.Route]bool, len(r.Want.Routes))
	for _, have := range f.Host.Own {
		there[have] = true
	}
	for _, want := range r.Want.Routes {
		wanted[want] = true
		if !there[want] {
			out.Add = append(out.Add, want)
		}
	}
	for _, have := range f.Host.Own {
		if !wanted[have] && !f.undecided(have) {
			out.Remove = append(out.Remove, have)
		}
	}
	for _, want := range r.Want.PolicyRules {
		if !slices.Contains(f.Host.PolicyRules, want) {
			out.AddRules = append(out.AddRules, want)
		}
	}
	for _, have := range f.Host.PolicyRules {
		if !slices.Contains(r.Want.PolicyRules, have) {
			out.RemoveRules = append(out.RemoveRules, have)
		}
	}
	return out
}

// diffRules are the containers whose chains are not as wanted.
func diffRules(f *Facts, r *Report) []rulesParams {
	out := []rulesParams{}
	for i := range f.Containers {
		c := &f.Containers[i]
		if c.undecided() {
			continue
		}
		want := r.Want.Rules[c.ID]
		if !c.has(want) {
			out = append(out, newRulesParams(c, want))
		}
	}
	return out
}

// has reports whether labd's rules in the container are as wanted, and in force.
func (c *Container) has(want netfilter.Rules) bool {
	holds := func(rs *netfilter.Ruleset, chains netfilter.Chains) bool {
		own, inPlace := rs.Own()
		return own.Equal(chains) && (inPlace || rs == nil)
	}
	return holds(c.Rules, want.IPv4) && holds(c.Rules6, want.IPv6) && c.Table.Holds(want.Table)
}

func texts(rules []netfilter.Rule) []string {
	out := make([]string, 0, len(rules))
	for _, r := range rules {
		out = append(out, r.String())
	}
	return out
}

// opens says which container and port becomes newly reachable, and from where, one sentence a container.
func opens(f *Facts, r *Report) []string {
	out := []string{}
	for _, n := range r.Networks {
		if len(n.Routes) == 0 || n.Verdict == VerdictOK {
			continue
		}
		for _, c := range f.Containers {
			if c.ID != n.Container || c.Docker == nil {
				continue
			}
			for _, ct := range c.Docker.Containers {
				for _, addr := range ct.Addresses[n.Name] {
					if at, ok := n.reachedAt(addr); ok {
						out = append(out, fmt.Sprintf("becomes reachable from %s: container %s of %s at %s, %s%s", r.whoMayCome(addr), ct.Name, n.Subject(), at, n.opensPorts(addr), portList(ct.Ports)))
					}
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// whoMayCome names who may reach an address: the sources of its family, and the host itself.
func (r *Report) whoMayCome(addr netip.Addr) string {
	names := []string{}
	for _, source := range ofFamily(r.Sources, netfilter.FamilyOf(addr)) {
		names = append(names, source.String())
	}
	return strings.Join(append(names, "this host"), ", ")
}

// opensPorts says which ports of a container are reached once its network is open: gateway mode routed of Docker's
// nftables backend lets only published ones in (moby, nftabler/network.go).
func (n Network) opensPorts(addr netip.Addr) string {
	for _, l := range n.paths {
		if l.target.Contains(addr) && l.nftBackend() && l.gatewayMode() == docker.GatewayRouted {
			return "the ports that it publishes"
		}
	}
	return "every port"
}

// reachedAt is the address by which others reach one of the network's addresses.
func (n Network) reachedAt(addr netip.Addr) (netip.Addr, bool) {
	for _, l := range n.paths {
		if l.route.Dst.IsValid() && l.target.Contains(addr) {
			return route.Translate(addr, l.target, l.reach), true
		}
	}
	return netip.Addr{}, false
}

// portList names the known ports; what was published only on the container's loopback is said.
func portList(ports []docker.Port) string {
	var names []string
	for _, p := range ports {
		name := strconv.Itoa(int(p.Number)) + "/" + p.Protocol
		if addr, err := netip.ParseAddr(p.PublishedOn); err == nil && addr.IsLoopback() {
			name += " (published only on " + p.PublishedOn + " so far)"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return ""
	}
	return ", among them " + strings.Join(names, ", ")
}

// PlanOff takes away everything with labd's mark and stores that it stays so. It looks for the mark in the kernel, on
// the host and in every running container, so it needs no state.
func PlanOff(f *Facts) (*plan.Plan, error) {
	p := &plan.Plan{Title: "Take away every route and chain of labd, and keep it so"}
	marked := plan.Set{}
	for _, c := range f.Containers {
		if c.hasMark() {
			marked = append(marked, strconv.Itoa(c.ID))
			p.Subjects = append(p.Subjects, finding.LXC(strconv.Itoa(c.ID)))
		}
	}
	routes := plan.Set{}
	for _, r := range f.Host.Own {
		routes = append(routes, r.String())
		p.Subjects = append(p.Subjects, finding.Route(r.Dst.String()))
	}
	if err := addStep(p, opSwitch, switchParams{SwitchOff}, plan.Step{
		Title: "Store that labd keeps its hands off networks", How: "write network-switch in the state directory", Verified: "read it again",
		Undone: "store the former switch; labctl net on makes routes and rules again", Risk: finding.RiskLow, Undoable: true,
	}); err != nil {
		return nil, err
	}
	if err := addStep(p, opCleanup, struct{}{}, plan.Step{
		Title:    "Take away every route and chain with labd's mark: " + seen(routes, marked),
		How:      fmt.Sprintf("netlink, protocol %d; iptables-restore --noflush and nft on the host and in every running container", route.Protocol),
		Verified: "look for the mark again", Undone: "labctl net on", Risk: finding.RiskLow,
	}); err != nil {
		return nil, err
	}
	for _, name := range f.ForwardingSet {
		if f.Host.Forwarding[name] {
			p.Notes = append(p.Notes, fmt.Sprintf("net.ipv4.conf.%s.forwarding, which labd set, stays on, since others may rely on it by now; labctl undo of the entry that set it takes it back", name))
		} else if strings.HasPrefix(name, "net.ipv6.") && f.Host.Forwarding6 {
			p.Notes = append(p.Notes, fmt.Sprintf("%s, which labd set, stays as it is, since others may rely on it by now; labctl undo of the entry that set it takes it back", name))
		}
	}
	var err error
	p.Digest, err = plan.Digest(map[string]any{"action": "off", "routes": routes, "marked": marked})
	return p, err
}

// seen says what of labd's was found.
func seen(routes, marked plan.Set) string {
	var parts []string
	for _, r := range routes {
		parts = append(parts, "route "+r)
	}
	for _, id := range marked {
		parts = append(parts, "chains in container "+id)
	}
	if len(parts) == 0 {
		return "none is known"
	}
	return strings.Join(parts, "; ")
}
