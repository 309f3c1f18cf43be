package router

import (
	"net/netip"
	"slices"
)

// dockerDefault is the network of docker0 on nearly every machine with Docker.
var dockerDefault = netip.MustParsePrefix("172.17.0.0/16")

// warnDocker warns where a prefix is what clients with a Docker of their own have on docker0.
func (w *writer) warnDocker(what string) {
	if slices.ContainsFunc(w.advice.Routes, func(r Route) bool { return r.Prefix.Overlaps(dockerDefault) }) {
		w.note("%s: a client that runs Docker itself has %s on its own docker0 and loses it, or does not reach yours. Have labd give that network an alias (network.alias_pools in labd.toml), or give its Docker another bip", what, dockerDefault)
	}
}

func prefixesOf(routes []Route) string {
	list := make([]netip.Prefix, 0, len(routes))
	for _, r := range routes {
		list = append(list, r.Prefix)
	}
	return join(list)
}

// addTailscale advertises each network by itself, never a pool: on Linux, Tailscale's table 52 goes before the main one, so
// a wide prefix takes the networks of the clients' own Docker away.
func addTailscale(w *writer) {
	w.line("tailscale set --advertise-routes=%s", compact(prefixesOf(w.advice.Routes)))
	w.remark("Linux clients take routes only after: tailscale set --accept-routes. Where the tailnet has an access policy (ACL), it must let them to these networks")
	w.remark("the host must forward what comes by tailscale0, also after a reboot:")
	w.remark("  echo 'net.ipv4.conf.tailscale0.forwarding = 1' > /etc/sysctl.d/99-labd-tailscale.conf; sysctl -p /etc/sysctl.d/99-labd-tailscale.conf")
	if len(w.routes(true)) > 0 {
		w.remark("  echo 'net.ipv6.conf.all.forwarding = 1' >> /etc/sysctl.d/99-labd-tailscale.conf; sysctl -p /etc/sysctl.d/99-labd-tailscale.conf")
	}
	w.note("this replaces the routes that the host advertises already; 'tailscale debug prefs' shows them. A network that comes later needs the command again")
	w.note("packets of the tailnet come to a container with the host's address on that container's bridge, as Tailscale's subnet routers do by default; where that is not a source that labd lets in, add it to network.from in labd.toml, or 100.64.0.0/10 with snat-subnet-routes off")
	w.warnDocker("Tailscale clients that accept routes")
}

func removeTailscale(w *writer) {
	w.remark("takes away all routes that this host advertises: name those that are to stay")
	w.line("tailscale set --advertise-routes=")
}

func addWireGuard(w *writer) {
	w.line("AllowedIPs = %s", prefixesOf(w.advice.Routes))
	w.remark("add these to the AllowedIPs that are there: a line more of the same [Peer] is fine. The client's own address, as the host sees it,")
	w.remark("must be a source that labd lets in (network.from in labd.toml), and the host or the router must know the way back to it")
	w.note("a network that comes later needs its prefix there, too")
	w.warnDocker("WireGuard clients")
}

func removeWireGuard(w *writer) {
	if len(w.advice.Routes) > 0 {
		w.remark("take these out of the client's AllowedIPs; then wg-quick down and up")
		w.line("%s", prefixesOf(w.advice.Routes))
	}
}

// compact returns a list without its blanks.
func compact(list string) string {
	out := make([]byte, 0, len(list))
	for i := range len(list) {
		if list[i] != ' ' {
			out = append(out, list[i])
		}
	}
	return string(out)
}
