package router

import (
	"fmt"
	"net/netip"
)

// dhcpTag marks the DHCP range whose clients get the option.
const dhcpTag = "labd"

// classless returns option 121; where it cannot be given, it writes the reason and the line commented out. IPv6 has no such
// option.
func (w *writer) classless(line func(classless) string) (classless, bool) {
	for _, r := range w.routes(true) {
		w.note("%s is left out: DHCPv6 has no such option. IPv6 clients learn routes from router advertisements: labctl net router --style radvd", r.Prefix)
	}
	c, problem := classlessOf(w.report, w.lan, w.advice.Routes)
	if len(c.routes) == 0 {
		w.remark("no IPv4 route is needed")
		return c, false
	}
	// The advice tells the same routes as its text.
	w.advice.Routes = append(c.routes, w.routes(true)...)
	if problem != "" {
		w.remark("not ready for use: %s", problem)
		w.note("not ready for use: %s", problem)
		if c.size() <= optionLimit {
			w.remark("%s", line(c))
		}
		return c, false
	}
	w.remark("the default route %s comes first: clients that take this option ignore the router that they are told besides", c.gateway)
	return c, true
}

var dnsmasq121 = style{
	name: "dnsmasq-121", title: "dnsmasq, DHCP option 121", tried: "dnsmasq 2.90 with udhcpc, dhcpcd and dhclient", sign: "#",
	apply: "this is the file /etc/dnsmasq.d/labd.conf; then 'dnsmasq --test' and restart dnsmasq; clients get it at their next lease",
	add: func(w *writer) {
		line := func(c classless) string {
			return fmt.Sprintf("dhcp-option=tag:%s,option:classless-static-route,%s", dhcpTag, c.text())
		}
		c, ok := w.classless(line)
		if !ok {
			return
		}
		w.remark("only clients of %s can use these next hops: put set:%s into the line of that range, as dhcp-range=set:%s,FIRST,LAST,TIME,", w.lanPrefix(), dhcpTag, dhcpTag)
		w.remark("or, where it has a tag already, put that tag in the place of %s below", dhcpTag)
		w.line("%s", line(c))
	},
	removal: func(w *writer) {
		w.line("rm -f /etc/dnsmasq.d/labd.conf && dnsmasq --test && systemctl restart dnsmasq")
		w.remark("clients keep the routes until their next lease")
	},
}

// openwrtOption deletes an older option 121 first: two of them would both be sent, and clients take one.
const openwrtOption = `for option in $(uci -q get dhcp.lan.dhcp_option); do case "$option" in 121,*|option:classless-static-route,*) echo "replaces $option"; uci del_list dhcp.lan.dhcp_option="$option";; esac; done`

var openwrtDHCP = style{
	name: "openwrt-dhcp", title: "OpenWrt's DHCP server, option 121", tried: "a stand-in for uci only, not on a router", sign: "#",
	apply: "in a shell of the router; where the DHCP section of the LAN has another name than 'lan', put that name in its place; clients get it at their next lease",
	add: func(w *writer) {
		line := func(c classless) string {
			return fmt.Sprintf("uci add_list dhcp.lan.dhcp_option='121,%s'", c.text())
		}
		c, ok := w.classless(line)
		if !ok {
			return
		}
		w.remark("an option 121 that is there already is replaced, also one of your own; it is printed")
		w.line("%s", openwrtOption)
		w.line("%s", line(c))
		w.line("uci commit dhcp")
		w.line("/etc/init.d/dnsmasq restart")
	},
	removal: func(w *writer) {
		w.remark("takes every option 121 of the section 'lan' away, also one of your own; it is printed")
		w.line("%s", openwrtOption)
		w.line("uci commit dhcp")
		w.line("/etc/init.d/dnsmasq restart")
	},
}

var pihole = style{
	name: "pihole", title: "Pi-hole 6 as DHCP server, option 121", sign: "#",
	apply: "Settings > All settings > Miscellaneous > misc.dnsmasq_lines: add this line to those that are there, in the place of an older one of labd; Save & Apply. Files below /etc/dnsmasq.d are not read by default",
	undo:  "take the line out of misc.dnsmasq_lines again; clients keep the routes until their next lease",
	add: func(w *writer) {
		line := func(c classless) string { return "dhcp-option=option:classless-static-route," + c.text() }
		c, ok := w.classless(line)
		if !ok {
			return
		}
		w.line("%s", line(c))
		w.remark("where the list is empty, this does the same, and replaces the whole list: pihole-FTL --config misc.dnsmasq_lines '[\"%s\"]'", line(c))
		w.remark("it is for clients of %s; where other DHCP ranges are in dnsmasq_lines, give that range a tag and name it, as for --style dnsmasq-121", w.lanPrefix())
	},
	removal: func(w *writer) {
		w.remark("Settings > All settings > Miscellaneous > misc.dnsmasq_lines: take away the line that begins so; Save & Apply")
		w.line("dhcp-option=option:classless-static-route,")
	},
}

var adguard = style{
	name: "adguard", title: "AdGuard Home as DHCP server, option 121", sign: "#",
	apply: "stop AdGuard Home, put this line below dhcp: dhcpv4: options: in AdGuardHome.yaml, in the place of an older one that begins with 121, start it; clients get it at their next lease",
	undo:  "take the line out of AdGuardHome.yaml again, with AdGuard Home stopped",
	add: func(w *writer) {
		line := func(c classless) string { return "- 121 hex " + c.hex() }
		c, ok := w.classless(func(c classless) string { return "121: " + c.text() })
		if !ok {
			return
		}
		w.line("%s", line(c))
		w.remark("it says: %s; the same bytes serve every DHCP server that takes an option in hex", c.text())
		w.remark("it is for clients of %s only", w.lanPrefix())
	},
	removal: func(w *writer) {
		w.remark("in AdGuardHome.yaml, below dhcp: dhcpv4: options:, with AdGuard Home stopped, take away the line that begins so")
		w.line("- 121 hex")
	},
}

// radvd announces routes to IPv6 clients (RFC 4191). It must not make this host a default router, which it is not.
var radvd = style{
	name: "radvd", title: "radvd on this host, for IPv6 clients", tried: "radvd 2.19 and the kernel's own client", sign: "#",
	apply: "this is the file /etc/radvd.conf of this PVE host, or a block of it; then restart radvd. This host must be the one that sends it: clients take its sender for the next hop",
	add: func(w *writer) {
		routes := w.routes(true)
		if len(routes) == 0 {
			w.remark("no IPv6 route is needed")
			return
		}
		w.advice.Routes = routes
		longest := 0
		w.line("interface %s", w.lan.device6)
		w.line("{")
		w.line("    AdvSendAdvert on;")
		w.line("    AdvDefaultLifetime 0;")
		for _, r := range routes {
			longest = max(longest, r.Prefix.Bits())
			w.line("    route %s", r.Prefix)
			w.line("    {")
			w.line("        AdvRouteLifetime 1800;")
			w.line("    };")
		}
		w.line("};")
		w.remark("AdvDefaultLifetime 0: this host is nobody's default router. NetworkManager and systemd-networkd take such routes by themselves;")
		w.remark("a Linux client without them ignores routes by default: sysctl -w net.ipv6.conf.INTERFACE.accept_ra_rt_info_max_plen=%d there", longest)
	},
	removal: func(w *writer) {
		w.remark("take the block out of /etc/radvd.conf, or, where it is all that is in there:")
		w.line("rm -f /etc/radvd.conf && systemctl stop radvd")
		w.remark("clients keep the routes for half an hour at the most")
	},
}

// lanPrefix returns the LAN whose clients can use the next hop.
func (w *writer) lanPrefix() netip.Prefix { return w.lan.hop4.Masked() }
