package v1

// KindTreeReport and KindRouterReport are the kinds of the envelopes that answer GET /v1/tree and GET /v1/router.
const (
	KindTreeReport   = "TreeReport"
	KindRouterReport = "RouterReport"
)

// TreeItem is one thing of the tree node > LXC container > compose project > Docker container > network > route. The items
// come in the order of the tree, each behind the one that it hangs from. A network comes once,
// below what uses it: one Docker container, one project, or the LXC container; ids are unique.
type TreeItem struct {
	// ID is node/NAME, lxc/CT, project/CT/NAME, container/CT/NAME, network/CT/NAME or route/PREFIX.
	ID   string   `json:"id"`
	Kind TreeKind `json:"kind"`
	Name string   `json:"name"`
	// Parent is the id of the item that it hangs from; empty for the node.
	Parent string `json:"parent,omitempty"`
	// Depth is how many items are above it.
	Depth int `json:"depth"`
	// Health is the worst of the thing itself and of what is below.
	Health Health `json:"health"`
	// State says in words what it is doing.
	State string `json:"state,omitempty"`
}

// RouterItem is what to tell the LAN's router, its DHCP server, a client, or a DNS server.
type RouterItem struct {
	// ID is router/<style>, or router/hosts-<format> for names.
	ID string `json:"id"`
	// Style is one of RouterStyles, or hosts- and one of HostsFormats.
	Style string `json:"style"`
	// Remove says that Text takes away what the style's text made.
	Remove bool          `json:"remove,omitempty"`
	Routes []RouterRoute `json:"routes"`
	// Names are those of Docker containers, where they were asked for.
	Names []RouterName `json:"names,omitempty"`
	// Text is for pasting; empty where there is nothing to be told.
	Text string `json:"text"`
	// Tried says on what labd's own tests run the text; empty where it was written by the maker's documentation alone.
	Tried string `json:"tried,omitempty"`
}

// RouterRoute is one route that the LAN's router needs.
type RouterRoute struct {
	Prefix string `json:"prefix"`
	Via    string `json:"via"`
	// Aggregate says that the prefix is a whole pool, or several networks as one: networks that come later need nothing more.
	Aggregate bool `json:"aggregate"`
}

// RouterName is a name for the address of a Docker container.
type RouterName struct {
	// Name is container.project.ct, or container.ct outside compose projects.
	Name    string `json:"name"`
	Address string `json:"address"`
	// Network is network/CT/NAME.
	Network string `json:"network"`
}

// RouterStyles are the styles of GET /v1/router, plain first.
func RouterStyles() []string {
	return []string{
		"plain", "openwrt", "opnsense", "pfsense", "mikrotik", "unifi", "fritzbox", "vyos", "edgeos", "frr", "dnsmasq-121", "tailscale",
		"openwrt-dhcp", "pihole", "adguard", "radvd", "generic", "client-linux", "client-macos", "client-windows", "wireguard",
	}
}

// HostsFormats are the formats of names of GET /v1/router, that of /etc/hosts first.
func HostsFormats() []string { return []string{"hosts", "dnsmasq", "pihole", "adguard"} }
