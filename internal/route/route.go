package route

import (
	"fmt"
	"net/netip"
	"time"
)

// Protocol is the routing protocol number that marks labd's routes; the package's rt_protos.conf names it for ip(8).
const Protocol = 176

// MainTable is the kernel's main routing table (RT_TABLE_MAIN).
const MainTable = 254

// Timeout bounds one netlink request.
const Timeout = time.Second

// Address is one address on an interface.
type Address struct {
	Interface string
	Prefix    netip.Prefix
}

// Route is one route. Dst is the zero Prefix for the default route.
type Route struct {
	Dst      netip.Prefix
	Via      netip.Addr
	Dev      string
	Table    int
	Protocol int
	// Nowhere says that what it covers is dropped or answered with an error: an unreachable, blackhole or prohibit route.
	Nowhere bool `json:",omitempty"`
}

// String returns the route as ip route writes it.
func (r Route) String() string {
	dst := "default"
	if r.Dst.IsValid() {
		dst = r.Dst.String()
	}
	return fmt.Sprintf("%s via %s dev %s", dst, r.Via, r.Dev)
}
