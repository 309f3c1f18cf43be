package router

import (
	"fmt"
	"strings"
)

func ipOf(r Route) string {
	if r.Prefix.Addr().Is6() {
		return "ip -6"
	}
	return "ip"
}

// addPlain replaces rather than adds: a second paste changes nothing, and a new next hop takes the place of the old one.
func addPlain(w *writer) {
	for _, r := range w.advice.Routes {
		w.line("%s route replace %s via %s", ipOf(r), r.Prefix, r.Via)
	}
}

func removePlain(w *writer) {
	for _, r := range w.advice.Routes {
		w.line("%s route del %s via %s", ipOf(r), r.Prefix, r.Via)
	}
}

func addLinuxClient(w *writer) {
	addPlain(w)
	w.remark("with NetworkManager also after a reboot; CONNECTION is what 'nmcli connection show' calls it:")
	for _, r := range w.advice.Routes {
		family := "ipv4"
		if r.Prefix.Addr().Is6() {
			family = "ipv6"
		}
		w.remark(`  nmcli connection modify CONNECTION +%s.routes "%s %s"`, family, r.Prefix, r.Via)
	}
}

func addMacOS(w *writer) {
	removeMacOS(w)
	var all []string
	for _, r := range w.advice.Routes {
		if r.Prefix.Addr().Is6() {
			w.line("sudo route -n add -inet6 %s %s", r.Prefix, r.Via)
			continue
		}
		w.line("sudo route -n add -net %s %s", r.Prefix, r.Via)
		all = append(all, fmt.Sprintf("%s %s %s", r.Prefix.Addr(), mask(r.Prefix), r.Via))
	}
	if len(all) > 0 {
		w.remark("also after a reboot; SERVICE is one of 'networksetup -listallnetworkservices', and its list of routes is replaced:")
		w.remark(`  sudo networksetup -setadditionalroutes "SERVICE" %s`, strings.Join(all, " "))
	}
}

func removeMacOS(w *writer) {
	for _, r := range w.advice.Routes {
		family := "-net"
		if r.Prefix.Addr().Is6() {
			family = "-inet6"
		}
		w.line("sudo route -n delete %s %s", family, r.Prefix)
	}
}

// addWindows deletes first: route add keeps an older route with another next hop beside the new one.
func addWindows(w *writer) {
	w.remark("'delete' says that the element was not found where there is none yet: go on")
	for _, r := range w.advice.Routes {
		w.removeWindowsRoute(r)
		if r.Prefix.Addr().Is6() {
			w.line("powershell -Command \"New-NetRoute -DestinationPrefix %s -NextHop %s -InterfaceIndex (Find-NetRoute -RemoteIPAddress %s)[0].InterfaceIndex\"", r.Prefix, r.Via, r.Via)
			continue
		}
		w.line("route -p add %s mask %s %s", r.Prefix.Addr(), mask(r.Prefix), r.Via)
	}
}

func removeWindows(w *writer) {
	for _, r := range w.advice.Routes {
		w.removeWindowsRoute(r)
	}
}

func (w *writer) removeWindowsRoute(r Route) {
	if r.Prefix.Addr().Is6() {
		w.line("powershell -Command \"Remove-NetRoute -DestinationPrefix %s -Confirm:$false\"", r.Prefix)
		return
	}
	w.line("route delete %s mask %s", r.Prefix.Addr(), mask(r.Prefix))
}

// frrTag marks labd's routes in FRR, as the protocol number does in the kernel.
const frrTag = 176

// frr keeps what is there and takes away only what it does not want any more, found by the tag, or by the prefix where an
// older next hop has none. staticd may be missing; then every route fails while "write memory" says OK.
var frr = style{
	name: "frr", title: "FRR", tried: "FRR 8.4", sign: "#", apply: "as root, in a shell of the router; it is saved in FRR's configuration", onRouter: true,
	add: func(w *writer) {
		var lines, prefixes []string
		for _, r := range w.advice.Routes {
			lines = append(lines, frrRoute(r))
			prefixes = append(prefixes, strings.ReplaceAll(r.Prefix.String(), ".", `\.`)+" .*")
		}
		w.line("if vtysh -c 'show daemons' | grep -qw staticd; then")
		for _, line := range lines {
			w.line("vtysh -c 'configure terminal' -c '%s'", line)
		}
		w.frrRemove(fmt.Sprintf("^ip(v6)? route (.* tag %d|%s)$", frrTag, strings.Join(prefixes, "|")), lines)
		w.line("vtysh -c 'write memory'")
		w.line("else echo 'staticd does not run, so FRR takes no static route: set staticd=yes in /etc/frr/daemons and restart frr'; fi")
	},
	removal: func(w *writer) {
		w.frrRemove(fmt.Sprintf("^ip(v6)? route .* tag %d$", frrTag), nil)
		w.line("vtysh -c 'write memory'")
	},
}

func frrRoute(r Route) string {
	ip := "ip"
	if r.Prefix.Addr().Is6() {
		ip = "ipv6"
	}
	return fmt.Sprintf("%s route %s %s tag %d", ip, r.Prefix, r.Via, frrTag)
}

// frrRemove takes away the routes of the configuration that match a pattern, but those that are to stay.
func (w *writer) frrRemove(pattern string, stay []string) {
	keep := ""
	for _, line := range stay {
		keep += fmt.Sprintf(" -e '%s'", line)
	}
	if keep != "" {
		keep = " | grep -vxF" + keep
	}
	w.line("vtysh -c 'show running-config' | grep -E '%s'%s | while read -r old; do vtysh -c 'configure terminal' -c \"no $old\" </dev/null; done", pattern, keep)
}
