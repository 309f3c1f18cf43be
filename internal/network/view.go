package network

import "net/netip"

// Facts returns what the report was made from.
func (r *Report) Facts() *Facts { return r.facts }

// Pools returns the policy's pools, those of aliases included.
func (r *Report) Pools() []netip.Prefix { return r.pools }
