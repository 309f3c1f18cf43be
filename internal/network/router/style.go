package router

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"labd/internal/network"
)

// style writes routes in the words of one kind of router.
type style struct {
	name, title string
	// tried says on what labd's tests run the text, twice, after a change, and removed again; empty where nobody did.
	tried string
	// sign begins a line that is for the reader.
	sign string
	// apply says where the text goes and what makes it count.
	apply string
	// single says that each network has a route of its own, since whole pools do harm there.
	single bool
	// onRouter says that the style puts the routes on the LAN's router, so that clients ask by way of it.
	onRouter     bool
	add, removal func(*writer)
	// undo says how to take it back; empty where that is the text of --remove.
	undo string
}

// StylePlain is the style of ip(8).
const StylePlain = "plain"

var styles = []style{
	{name: StylePlain, title: "a Linux router", tried: "Debian 12", sign: "#", apply: "as root, in a shell of the router; it holds until the next reboot", onRouter: true, add: addPlain, removal: removePlain},
	openwrt,
	{name: "opnsense", title: "OPNsense", sign: "#", onRouter: true, add: addOPNsense, removal: removePages("System > Routes > Configuration", "System > Gateways > Configuration"), undo: "delete the routes first, then the gateway; Apply"},
	{name: "pfsense", title: "pfSense", sign: "#", onRouter: true, add: addPfSense, removal: removePages("System > Routing > Static Routes", "System > Routing > Gateways"), undo: "delete the routes first, then the gateway; Apply Changes"},
	mikrotik,
	{name: "unifi", title: "UniFi", sign: "#", onRouter: true, add: addUniFi, removal: removePages("the page that has the static routes"), undo: "delete the routes with these names on the same page"},
	{name: "fritzbox", title: "FRITZ!Box", sign: "#", onRouter: true, add: addFritzBox, removal: removePages("Heimnetz > Netzwerk > Netzwerkeinstellungen > Statische Routingtabelle (Home Network > Network > Network Settings > Static Routing Table)"), undo: "delete the routes on the same page"},
	vyos("vyos", "VyOS"),
	vyos("edgeos", "EdgeOS"),
	frr,
	dnsmasq121,
	{name: "tailscale", title: "Tailscale on this host", sign: "#", apply: "as root, on this PVE host; then approve the routes in Tailscale's admin console, or by autoApprovers", single: true, add: addTailscale, removal: removeTailscale},
	openwrtDHCP,
	pihole,
	adguard,
	radvd,
	{name: "generic", title: "any other router", sign: "#", apply: "on the page for static routes of your router", onRouter: true, add: addGeneric, removal: removePages("the page for static routes of your router"), undo: "delete these routes on the same page"},
	{name: "client-linux", title: "one Linux client", tried: "Debian 12", sign: "#", apply: "as root, on the client; it holds until the next reboot", add: addLinuxClient, removal: removePlain},
	{name: "client-macos", title: "one Mac", sign: "#", apply: "in a terminal of the Mac; it holds until the next reboot", add: addMacOS, removal: removeMacOS},
	{name: "client-windows", title: "one Windows client", sign: "rem", apply: "in a command prompt (cmd) that was started as administrator; it lasts over reboots", add: addWindows, removal: removeWindows},
	{name: "wireguard", title: "a WireGuard client", sign: "#", single: true, apply: "in the client's file, below the [Peer] that leads to your LAN; then wg-quick down and up", add: addWireGuard, removal: removeWireGuard, undo: "take the prefixes out of AllowedIPs again; wg-quick down and up"},
}

// Styles returns the names of the styles, plain first.
func Styles() []string {
	names := make([]string, 0, len(styles))
	for _, s := range styles {
		names = append(names, s.name)
	}
	return names
}

// writer writes an advice.
type writer struct {
	style  style
	lan    lan
	report *network.Report
	advice *Advice
}

// write writes the text of a style: where it comes from and goes to, the routes, how to test them and how to undo.
func (w *writer) write() {
	s := w.style
	origin := "unproven: written from the maker's documentation, labd's tests cannot run it"
	if s.tried != "" {
		origin = "labd's tests run this text on " + s.tried
	}
	w.remark("%s; %s", s.title, origin)
	if s.apply != "" {
		w.remark("apply: %s", s.apply)
	}
	s.add(w)
	if at, who := sample(w.report); at.IsValid() {
		w.remark("test, from a client: ping %s (%s)", at, who)
	}
	if s.onRouter && len(w.direct()) > 0 {
		w.remark("test once more with one connection that stays open for more than a minute, such as ssh: a router that saw only one")
		w.remark("direction of it, or whose ICMP redirect the client follows for a while, cuts it after some 30 seconds")
	}
	w.remark("undo: %s", cmp.Or(s.undo, "what 'labctl net router --style "+s.name+" --remove' prints"))
	w.warn()
}

func (s style) remove(w *writer) {
	s.removal(w)
	if w.advice.Text == "" {
		w.note("there is nothing to take away by this style")
	}
}

func (w *writer) line(format string, args ...any) {
	w.advice.Text += fmt.Sprintf(format, args...) + "\n"
}

// remark writes a line for the reader.
func (w *writer) remark(format string, args ...any) {
	w.line("%s", w.style.sign+" "+fmt.Sprintf(format, args...))
}

func (w *writer) note(format string, args ...any) {
	w.advice.Notes = append(w.advice.Notes, fmt.Sprintf(format, args...))
}

// warn notes what a person may stumble over whatever the router.
func (w *writer) warn() {
	direct := join(w.direct())
	if w.style.onRouter && direct != "" {
		w.note("clients in %s ask by way of the router and are answered directly, so the router sees one direction only; a router with a stateful firewall then drops TCP. Give the route to the clients instead (styles dnsmasq-121, openwrt-dhcp, pihole, adguard, client-linux, client-macos, client-windows), or put the containers and this host into a network that the router leads to", direct)
	}
	var pools, commands []string
	for _, route := range w.advice.Routes {
		if covered := poolOf(w.report, route.Prefix) == route.Prefix; covered && route.Aggregate && !endsNowhere(w.report.Facts().Host, route.Prefix) {
			pools = append(pools, route.Prefix.String())
			commands = append(commands, fmt.Sprintf("%s route replace unreachable %s", ipOf(route), route.Prefix))
		}
	}
	if len(pools) > 0 {
		w.note("this host sends packets for addresses of %s that no network has back to the router; this ends that, on this host: %s. After a reboot, too: the same behind 'post-up' below %s in /etc/network/interfaces. labd lets such routes be", strings.Join(pools, ", "), strings.Join(commands, "; "), cmp.Or(w.lan.device, w.lan.device6, "the bridge to the LAN"))
	}
}

// direct returns the sources in the LAN itself, of the families that have a route.
func (w *writer) direct() []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(w.lan.direct), func(s netip.Prefix) bool { return len(w.routes(s.Addr().Is6())) == 0 })
}

func join(prefixes []netip.Prefix) string {
	texts := make([]string, 0, len(prefixes))
	for _, p := range prefixes {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}

// sample returns an address by which a running Docker container is reached, and whose it is.
func sample(r *network.Report) (netip.Addr, string) {
	for _, e := range endpoints(r) {
		if e.address.Is4() {
			return e.address, fmt.Sprintf("container %s of %s", e.container, e.network)
		}
	}
	return netip.Addr{}, ""
}

// routes returns the advice's routes of one family.
func (w *writer) routes(ipv6 bool) []Route {
	var out []Route
	for _, r := range w.advice.Routes {
		if r.Prefix.Addr().Is6() == ipv6 {
			out = append(out, r)
		}
	}
	return out
}

// mask returns an IPv4 prefix length as a netmask.
func mask(p netip.Prefix) string {
	return net.IP(net.CIDRMask(p.Bits(), p.Addr().BitLen())).String()
}

// identifier returns a prefix as a name of letters, digits and underscores.
func identifier(p netip.Prefix) string {
	return strings.NewReplacer(".", "_", ":", "_", "/", "_").Replace(p.String())
}

// removePages tells on which pages routes are deleted by hand.
func removePages(pages ...string) func(*writer) {
	return func(w *writer) {
		if len(w.advice.Routes) == 0 {
			return
		}
		w.remark("%s: delete these by hand, and those of networks that are gone", w.style.title)
		for _, page := range pages {
			w.line("%s", page)
		}
		var hops []netip.Addr
		for _, r := range w.advice.Routes {
			w.line("  %s by way of %s", r.Prefix, r.Via)
			if !slices.Contains(hops, r.Via) {
				hops = append(hops, r.Via)
			}
		}
	}
}
