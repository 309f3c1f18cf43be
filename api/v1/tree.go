package v1

// KindTreeReport and KindRouterReport are the kinds of the envelopes that answer GET /v1/tree and GET /v1/router.
const (
	KindTreeReport   = "TreeReport"
	KindRouterReport = "RouterReport"
)

// TreeItem is one thing of the tree node > LXC container > compose project > Docker container > network > route. The items
// come in the order of the tree, each behind the one that it hangs from. A network or route that several hang on to comes
// once for each.
type TreeItem struct {
	// ID is node/NAME, lxc/CT, project/CT/NAME, container/CT/NAME, network/CT/NAME or route/PREFIX.
	ID   string   `json:"id"`
	Kind TreeKind `json:"kind"`
	Name string   `json:"name"`
	// Parent is the id of the item that it hangs from; empty for the node.
	Parent string `json:"parent,omitempty"`
	// Depth is how many items are above it.
	Depth int `json:"depth"`
	// Health is that of the thing itself; for node, lxc and project the worst of what is below, too.
	Health Health `json:"health"`
	// State says in words what it is doing.
	State string `json:"state,omitempty"`
}

// RouterItem is what to tell the LAN's router.
type RouterItem struct {
	// ID is router/<style>.
	ID string `json:"id"`
	// Style is openwrt, opnsense, pfsense, mikrotik, unifi, fritzbox, vyos, edgeos, frr, dnsmasq-121, tailscale or plain.
	Style  string        `json:"style"`
	Routes []RouterRoute `json:"routes"`
	// Text is for pasting.
	Text string `json:"text"`
}

// RouterRoute is one route that the LAN's router needs.
type RouterRoute struct {
	Prefix string `json:"prefix"`
	Via    string `json:"via"`
	// Aggregate says that the prefix is a whole pool: networks that come later need nothing more.
	Aggregate bool `json:"aggregate"`
}

// RouterStyles are the styles of GET /v1/router, plain first.
func RouterStyles() []string {
	return []string{"plain", "openwrt", "opnsense", "pfsense", "mikrotik", "unifi", "fritzbox", "vyos", "edgeos", "frr", "dnsmasq-121", "tailscale"}
}
