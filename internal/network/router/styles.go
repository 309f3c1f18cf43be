package router

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// style writes routes in the words of one kind of router.
type style struct {
	name  string
	write func(*advisor)
}

// StylePlain is the style of ip(8).
const StylePlain = "plain"

var styles = []style{
	{StylePlain, writePlain},
	{"openwrt", writeOpenWrt},
	{"opnsense", func(a *advisor) {
		a.writeSteps("OPNsense", "System > Gateways > Configuration: add", "System > Routes > Configuration: add", "Firewall > Settings > Advanced: Bypass firewall rules for traffic on the same interface")
	}},
	{"pfsense", func(a *advisor) {
		a.writeSteps("pfSense", "System > Routing > Gateways: add", "System > Routing > Static Routes: add", "System > Advanced > Firewall & NAT: Bypass firewall rules for traffic on the same interface")
	}},
	{"mikrotik", writeMikroTik},
	{"unifi", writeUniFi},
	{"fritzbox", writeFritzBox},
	{"vyos", func(a *advisor) { a.writeSet("configure", "commit", "save", "exit") }},
	{"edgeos", func(a *advisor) { a.writeSet("configure", "commit", "save", "exit") }},
	{"frr", writeFRR},
	{"dnsmasq-121", writeDnsmasq},
	{"tailscale", writeTailscale},
}

// Styles are the names of the styles, plain first.
func Styles() []string {
	names := make([]string, 0, len(styles))
	for _, s := range styles {
		names = append(names, s.name)
	}
	return names
}

// advisor writes an advice.
type advisor struct {
	advice *Advice
	// gateway is the LAN's router, as the host's default route has it.
	gateway netip.Addr
}

func (a *advisor) line(format string, args ...any) {
	a.advice.Text += fmt.Sprintf(format, args...) + "\n"
}

// mask is an IPv4 prefix length as a netmask.
func mask(p netip.Prefix) string {
	return net.IP(net.CIDRMask(p.Bits(), p.Addr().BitLen())).String()
}

func writePlain(a *advisor) {
	for _, r := range a.advice.Routes {
		ip := "ip"
		if r.Prefix.Addr().Is6() {
			ip = "ip -6"
		}
		a.line("%s route add %s via %s", ip, r.Prefix, r.Via)
	}
}

// writeOpenWrt names the sections, so that pasting twice changes nothing (OpenWrt, network.route and network.route6).
func writeOpenWrt(a *advisor) {
	for i, r := range a.advice.Routes {
		section, kind := fmt.Sprintf("network.labd_%d", i+1), "route"
		if r.Prefix.Addr().Is6() {
			kind = "route6"
		}
		a.line("uci set %s=%s", section, kind)
		a.line("uci set %s.interface='lan'", section)
		if kind == "route" {
			a.line("uci set %s.target='%s'", section, r.Prefix.Addr())
			a.line("uci set %s.netmask='%s'", section, mask(r.Prefix))
		} else {
			a.line("uci set %s.target='%s'", section, r.Prefix)
		}
		a.line("uci set %s.gateway='%s'", section, r.Via)
	}
	if len(a.advice.Routes) > 0 {
		a.line("uci commit network")
		a.line("/etc/init.d/network reload")
	}
}

// writeSteps are the steps of a router that is set in its pages: a gateway for each next hop, then the routes.
func (a *advisor) writeSteps(router, gateways, routes, bypass string) {
	names := map[netip.Addr]string{}
	a.line("# %s has no commands for this; in its pages:", router)
	for _, r := range a.advice.Routes {
		if names[r.Via] != "" {
			continue
		}
		family := "IPv4"
		if r.Via.Is6() {
			family = "IPv6"
		}
		names[r.Via] = "LABD_" + strings.ToUpper(family)
		a.line("%s", gateways)
		a.line("  Name %s, Interface LAN, Address Family %s, IP address %s, Far Gateway off, Disable Gateway Monitoring on", names[r.Via], family, r.Via)
	}
	for _, r := range a.advice.Routes {
		a.line("%s", routes)
		a.line("  Network %s, Gateway %s", r.Prefix, names[r.Via])
	}
	a.line("# Where the containers are in the LAN itself, they answer past the router:")
	a.line("%s", bypass)
}

func writeMikroTik(a *advisor) {
	for _, r := range a.advice.Routes {
		path := "/ip/route"
		if r.Prefix.Addr().Is6() {
			path = "/ipv6/route"
		}
		a.line("%s/add dst-address=%s gateway=%s comment=labd", path, r.Prefix, r.Via)
	}
}

func writeUniFi(a *advisor) {
	a.line("# UniFi has no commands for this; in its pages: Settings > Policy Engine (or Routing) > Static Routes > Create")
	for i, r := range a.advice.Routes {
		a.line("Name labd-%d, Device Gateway, Network/Destination %s, Distance 1, Type Next Hop, Next Hop %s", i+1, r.Prefix, r.Via)
	}
}

// writeFritzBox names the pages in German and English, as the box may speak either.
func writeFritzBox(a *advisor) {
	a.line("# FRITZ!Box has no commands for this; in its pages, with the advanced view:")
	a.line("# Heimnetz > Netzwerk > Netzwerkeinstellungen > Statische Routingtabelle (Home Network > Network > Network Settings > Static Routing Table)")
	for _, r := range a.advice.Routes {
		if r.Prefix.Addr().Is4() {
			a.line("IPv4-Routen: IPv4-Netzwerk %s, Subnetzmaske %s, Gateway %s, IPv4-Route aktiv", r.Prefix.Addr(), mask(r.Prefix), r.Via)
		} else {
			a.line("IPv6-Routen: IPv6-Netzwerk %s, Präfixlänge %d, Gateway %s, IPv6-Route aktiv", r.Prefix.Addr(), r.Prefix.Bits(), r.Via)
		}
	}
	for _, r := range a.advice.Routes {
		if r.Prefix.Addr().Is6() {
			a.advice.note("a FRITZ!Box takes a link-local address as the gateway of an IPv6 route more readily: on the host, 'ip -6 address show scope link' shows it")
			break
		}
	}
}

// writeSet is the configuration of VyOS and of EdgeOS, which comes from the same root.
func (a *advisor) writeSet(before string, after ...string) {
	a.line("%s", before)
	for _, r := range a.advice.Routes {
		route := "route"
		if r.Prefix.Addr().Is6() {
			route = "route6"
		}
		a.line("set protocols static %s %s next-hop %s", route, r.Prefix, r.Via)
	}
	for _, line := range after {
		a.line("%s", line)
	}
}

func writeFRR(a *advisor) {
	a.line("configure terminal")
	for _, r := range a.advice.Routes {
		ip := "ip"
		if r.Prefix.Addr().Is6() {
			ip = "ipv6"
		}
		a.line("%s route %s %s", ip, r.Prefix, r.Via)
	}
	a.line("end")
	a.line("write memory")
}

// writeDnsmasq is for a LAN whose router takes no routes: DHCP option 121 tells each client (RFC 3442). A client that gets
// it ignores the router that it is told besides, so the default route is in it too.
func writeDnsmasq(a *advisor) {
	option := "dhcp-option=option:classless-static-route"
	var parts []string
	for _, r := range a.advice.Routes {
		if r.Prefix.Addr().Is4() {
			parts = append(parts, r.Prefix.String(), r.Via.String())
		} else {
			a.advice.note("%s is left out: DHCPv6 has no such option; IPv6 clients learn routes from router advertisements (radvd: route %s { })", r.Prefix, r.Prefix)
		}
	}
	if len(parts) == 0 {
		a.line("# no IPv4 route is needed")
		return
	}
	gateway := "ROUTER"
	if a.gateway.IsValid() {
		gateway = a.gateway.String()
	} else {
		a.advice.note("put the LAN router's address in the place of ROUTER")
	}
	a.line("# the default route comes first: clients that take this option ignore the router that they are told besides")
	a.line("%s,0.0.0.0/0,%s,%s", option, gateway, strings.Join(parts, ","))
}

func writeTailscale(a *advisor) {
	var prefixes []string
	for _, r := range a.advice.Routes {
		prefixes = append(prefixes, r.Prefix.String())
	}
	if len(prefixes) == 0 {
		return
	}
	a.line("# on the PVE host; then approve the routes in Tailscale's admin console, or by autoApprovers")
	a.line("tailscale set --advertise-routes=%s", strings.Join(prefixes, ","))
	a.advice.note("this replaces the routes that the host advertises already; 'tailscale debug prefs' shows them")
	a.advice.note("packets of the tailnet come to a container with the host's address on that container's bridge, as Tailscale's subnet routers do by default; where that is not a source that labd lets in, add it to network.from in labd.toml, or 100.64.0.0/10 with snat-subnet-routes off")
}
