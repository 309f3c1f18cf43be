package network

import "net/netip"

// Facts returns what the report was made from.
func (r *Report) Facts() *Facts { return r.facts }

// Pools returns the policy's pools, those of aliases included.
func (r *Report) Pools() []netip.Prefix { return r.pools }

// ReachedAt returns by which address others reach an address of a Docker container, and whether they can.
func (n *Network) ReachedAt(addr netip.Addr) (netip.Addr, bool) { return n.reachedAt(addr) }
