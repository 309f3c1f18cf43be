package network

import "net/netip"

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

func addrs(network string, texts ...string) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for _, text := range texts {
		out[network] = append(out[network], netip.MustParseAddr(text))
	}
	return out
}
