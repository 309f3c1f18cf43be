package router

import (
	"fmt"
	"net/netip"
	"strings"
)

// openwrtOld deletes the sections of one configuration that an earlier paste made.
func openwrtOld(config string) string {
	return fmt.Sprintf(`for section in $(uci -q show %[1]s | sed -n 's/^%[1]s\.\(labd_[A-Za-z0-9_]*\)=.*$/\1/p'); do uci delete "%[1]s.$section"; done`, config)
}

// openwrt names the sections by prefix and begins with deleting all of its own, so that a paste leaves what is wanted and
// nothing else, whatever an earlier one left (OpenWrt, network.route and network.route6).
var openwrt = style{
	name: "openwrt", title: "OpenWrt", tried: "a stand-in for uci only, not on a router", sign: "#", onRouter: true,
	apply: "in a shell of the router; where the LAN's interface has another name than 'lan', put that name in its place",
	add: func(w *writer) {
		w.line("%s", openwrtOld("network"))
		for _, r := range w.advice.Routes {
			section := "network.labd_" + identifier(r.Prefix)
			if r.Prefix.Addr().Is6() {
				w.line("uci set %s=route6", section)
				w.line("uci set %s.target='%s'", section, r.Prefix)
			} else {
				w.line("uci set %s=route", section)
				w.line("uci set %s.target='%s'", section, r.Prefix.Addr())
				w.line("uci set %s.netmask='%s'", section, mask(r.Prefix))
			}
			w.line("uci set %s.interface='lan'", section)
			w.line("uci set %s.gateway='%s'", section, r.Via)
		}
		w.line("uci commit network")
		w.line("/etc/init.d/network reload")
		if len(w.direct()) > 0 {
			w.remark("only if 'uci -q get firewall.@defaults[0].drop_invalid' says 1, the firewall drops these connections; this lets them be:")
			for _, r := range w.advice.Routes {
				w.remark("  s=firewall.labd_%s; uci set $s=rule; uci set $s.src=lan; uci set $s.dest_ip=%s; uci set $s.proto=all; uci set $s.target=NOTRACK", identifier(r.Prefix), r.Prefix)
			}
			w.remark("  uci commit firewall; /etc/init.d/firewall reload")
		}
	},
	removal: func(w *writer) {
		w.line("%s", openwrtOld("network"))
		w.line("uci commit network")
		w.line("/etc/init.d/network reload")
		w.line("%s", openwrtOld("firewall"))
		w.line("uci commit firewall")
		w.line("/etc/init.d/firewall reload")
	},
}

// mikrotik finds its own by the comment. The words are those of RouterOS 6, which RouterOS 7 takes too.
var mikrotik = style{
	name: "mikrotik", title: "MikroTik RouterOS 6 and 7", sign: "#", onRouter: true, apply: "in a terminal of the router; it counts and is kept at once",
	add: func(w *writer) {
		removeMikroTik(w)
		for _, r := range w.advice.Routes {
			w.line(`%s route add dst-address=%s gateway=%s comment="labd"`, mikrotikPath(r.Prefix), r.Prefix, r.Via)
		}
		if len(w.direct()) > 0 && len(w.routes(false)) > 0 {
			w.remark("the router's default firewall drops what it takes for invalid, and it sees one direction only; this lets these be:")
			w.remark(`  /ip firewall raw remove [find comment="labd"]`)
			for _, r := range w.routes(false) {
				w.remark(`  /ip firewall raw add chain=prerouting action=notrack dst-address=%s comment="labd"`, r.Prefix)
			}
		}
	},
	removal: func(w *writer) {
		removeMikroTik(w)
		w.line(`/ip firewall raw remove [find comment="labd"]`)
	},
}

func mikrotikPath(p netip.Prefix) string {
	if p.Addr().Is6() {
		return "/ipv6"
	}
	return "/ip"
}

func removeMikroTik(w *writer) {
	w.line(`/ip route remove [find comment="labd"]`)
	if len(w.routes(true)) > 0 {
		w.line(`/ipv6 route remove [find comment="labd"]`)
	}
}

// vyos is the configuration of VyOS and of EdgeOS, which comes from the same root. Deleting the prefix first takes an older
// next hop away: "set" would add a second one.
func vyos(name, title string) style {
	static := func(r Route) string {
		if r.Prefix.Addr().Is6() {
			return "protocols static route6 " + r.Prefix.String()
		}
		return "protocols static route " + r.Prefix.String()
	}
	finish := func(w *writer) {
		w.line("commit")
		w.line("save")
		w.line("exit")
	}
	return style{
		name: name, title: title, sign: "#", onRouter: true, apply: "in a shell of the router; 'delete' says that there is nothing to delete where there is none yet: go on",
		add: func(w *writer) {
			w.line("configure")
			for _, r := range w.advice.Routes {
				w.line("delete %s", static(r))
				w.line("set %s next-hop %s", static(r), r.Via)
			}
			finish(w)
			w.remark("networks that are gone: 'show configuration commands | grep next-hop' lists the routes; delete those that you do not need")
			if len(w.direct()) > 0 {
				w.remark("a rule or state-policy of your firewall that drops invalid packets drops these connections: accept the prefixes above before it")
			}
		},
		removal: func(w *writer) {
			if len(w.advice.Routes) == 0 {
				return
			}
			w.line("configure")
			for _, r := range w.advice.Routes {
				w.line("delete %s", static(r))
			}
			finish(w)
		},
	}
}

// gatewayNames gives each next hop a name.
func (w *writer) gatewayNames() (names map[netip.Addr]string, hops []netip.Addr) {
	names = map[netip.Addr]string{}
	for _, r := range w.advice.Routes {
		if names[r.Via] != "" {
			continue
		}
		names[r.Via], hops = "LABD_IPV4", append(hops, r.Via)
		if r.Via.Is6() {
			names[r.Via] = "LABD_IPV6"
		}
	}
	return names, hops
}

func familyName(a netip.Addr) string {
	if a.Is6() {
		return "IPv6"
	}
	return "IPv4"
}

func addOPNsense(w *writer) {
	names, hops := w.gatewayNames()
	w.remark("apply: in its pages, in this order; where one of these is there already, edit it")
	for _, hop := range hops {
		w.line("System > Gateways > Configuration > Add")
		w.line("  Name: %s; Interface: LAN; Address Family: %s; IP Address: %s", names[hop], familyName(hop), hop)
		w.line("  Upstream Gateway: off; Far Gateway: off; Disable Gateway Monitoring: on")
		w.line("  Save, Apply. The gateway marked active stays that of your WAN")
	}
	for _, r := range w.advice.Routes {
		w.line("System > Routes > Configuration > Add")
		w.line("  Network Address: %s; Gateway: %s; Description: labd. Save", r.Prefix, names[r.Via])
	}
	w.line("System > Routes > Configuration: Apply")
	if len(w.direct()) > 0 {
		w.line("Firewall > Settings > Advanced")
		w.line("  Bypass firewall rules for traffic on the same interface: on. Save")
	}
	w.remark("a firewall rule on LAN that has a gateway set goes past the routing table: put a rule without gateway for these networks before it")
}

func addPfSense(w *writer) {
	names, hops := w.gatewayNames()
	w.remark("apply: in its pages, in this order; where one of these is there already, edit it")
	for _, hop := range hops {
		w.line("System > Routing > Gateways > Add")
		w.line("  Interface: LAN; Address Family: %s; Name: %s; Gateway: %s", familyName(hop), names[hop], hop)
		w.line("  Gateway Monitoring > Disable Gateway Monitoring: on; Display Advanced > Use non-local gateway: off")
		w.line("  Save, Apply Changes. Default gateway %s, on the same page: name that of your WAN, not Automatic", familyName(hop))
	}
	for _, r := range w.advice.Routes {
		w.line("System > Routing > Static Routes > Add")
		w.line("  Destination network: %s; Gateway: %s; Description: labd. Save", r.Prefix, names[r.Via])
	}
	w.line("System > Routing > Static Routes: Apply Changes")
	if len(w.direct()) > 0 {
		w.line("System > Advanced > Firewall & NAT")
		w.line("  Static route filtering: Bypass firewall rules for traffic on the same interface: on. Save")
	}
	w.remark("a firewall rule on LAN that has a gateway set goes past the routing table: put a rule without gateway for these networks before it")
}

func addUniFi(w *writer) {
	w.remark("apply: in UniFi Network, by version:")
	w.remark("  9.4 and later: Settings > Policy Table > Create New Policy > Route")
	w.remark("  9.3: Settings > Policy Engine > Static Routes > Create; 9.2 and before: Settings > Routing > Static Routes > Create")
	for _, r := range w.advice.Routes {
		w.line("Name: labd %s; Device: Gateway; Network or Destination: %s; Distance: 1; Type: Next Hop; Next Hop: %s", r.Prefix, r.Prefix, r.Via)
	}
	w.remark("or by its API, POST to /proxy/network/api/s/default/rest/routing, one for each route; a second one with that name is a second route:")
	for _, r := range w.advice.Routes {
		w.remark(`  {"enabled":true,"name":"labd %s","type":"static-route","static-route_type":"nexthop-route","static-route_network":"%s","static-route_nexthop":"%s","static-route_distance":1}`, r.Prefix, r.Prefix, r.Via)
	}
	if len(w.direct()) > 0 {
		w.remark("a policy that blocks invalid traffic inside the LAN's zone drops these connections: switch it off for the networks above")
	}
}

// fritzGuest is the guest network of every FRITZ!Box, of which it takes no route.
var fritzGuest = netip.MustParsePrefix("192.168.179.0/24")

// addFritzBox names the pages in German and English, as the box may speak either.
func addFritzBox(w *writer) {
	w.remark("apply: in its pages, with the advanced view: Heimnetz > Netzwerk > Netzwerkeinstellungen > Statische Routingtabelle")
	w.remark("(Home Network > Network > Network Settings > Static Routing Table). The box takes one route for each network and next hop")
	for _, r := range w.advice.Routes {
		text := fmt.Sprintf("IPv6-Routen: IPv6-Netzwerk %s, Präfixlänge %d, Gateway %s, IPv6-Route aktiv", r.Prefix.Addr(), r.Prefix.Bits(), r.Via)
		if r.Prefix.Addr().Is4() {
			text = fmt.Sprintf("IPv4-Routen: IPv4-Netzwerk %s, Subnetzmaske %s, Gateway %s, IPv4-Route aktiv", r.Prefix.Addr(), mask(r.Prefix), r.Via)
		}
		if r.Prefix.Overlaps(fritzGuest) {
			w.remark("the box refuses this one, since its guest network is %s: %s", fritzGuest, text)
			w.note("%s cannot be told to a FRITZ!Box, whose guest network is %s: give the Docker network another subnet, or have labd give it an alias", r.Prefix, fritzGuest)
			continue
		}
		w.line("%s", text)
	}
	if len(w.routes(true)) > 0 {
		w.note("a FRITZ!Box takes a link-local address as the gateway of an IPv6 route more readily: on the host, 'ip -6 address show scope link' shows it")
	}
}

func addGeneric(w *writer) {
	rows := [][4]string{{"DESTINATION", "MASK", "NEXT HOP", "METRIC"}}
	for _, r := range w.advice.Routes {
		maskText := mask(r.Prefix)
		if r.Prefix.Addr().Is6() {
			maskText = fmt.Sprintf("/%d", r.Prefix.Bits())
		}
		rows = append(rows, [4]string{r.Prefix.Addr().String(), maskText, r.Via.String(), "1"})
	}
	var width [4]int
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, row := range rows {
		w.line("%s", strings.TrimRight(fmt.Sprintf("%-*s  %-*s  %-*s  %s", width[0], row[0], width[1], row[1], width[2], row[2], row[3]), " "))
	}
	w.remark("the interface is that of the LAN; the default route stays as it is")
}
