package v1

// KindProbeReport is the kind of the envelope that answers a probe.
const KindProbeReport = "ProbeReport"

// ProbeRequest asks for a probe: POST /v1/probes.
type ProbeRequest struct {
	// Address is the IPv4 or IPv6 address of a Docker container, or one that an alias gives it.
	Address string `json:"address"`
	// Port is a TCP port; without one an echo decides.
	Port uint16 `json:"port,omitempty"`
	// From is the client for whom the way is judged; without one it is some client that may come.
	From string `json:"from,omitempty"`
}

// ProbeItem is the way to one address.
type ProbeItem struct {
	// ID is the address, with the port where one was asked for.
	ID string `json:"id"`
	// Network is the Docker network that the address is in, as network/CT/NAME; empty when it is in none.
	Network string `json:"network,omitempty"`
	// DockerContainer is the name of the Docker container with the address.
	DockerContainer string `json:"dockerContainer,omitempty"`
	// Source is the address that labd's packets came from; empty when the kernel chose one.
	Source string `json:"source,omitempty"`
	// From is the client for whom the hops were judged: what only packets of the LAN pass is judged by rules, since labd's own
	// packets do not go that way.
	From    string       `json:"from,omitempty"`
	Verdict ProbeVerdict `json:"verdict"`
	// PortState is what the connection to the port found, where one was asked for.
	PortState PortState     `json:"portState,omitempty"`
	Hops      []ProbeHop    `json:"hops"`
	Packets   []ProbePacket `json:"packets"`
	// Moved are the rules that counted while labd sent its packets.
	Moved []ProbeCounter `json:"moved"`
}

// ProbeHop is one place on the way, in the order of the way.
type ProbeHop struct {
	Name  HopName  `json:"name"`
	Where string   `json:"where"`
	State HopState `json:"state"`
	Text  string   `json:"text"`
	// Rule is the rule, policy or setting that decides.
	Rule string `json:"rule,omitempty"`
	// Packets is how many packets the rule counted while labd sent its own.
	Packets uint64 `json:"packets,omitempty"`
	// Lines are a file and what to add to it, where that opens the way.
	Lines []string `json:"lines,omitempty"`
}

// ProbePacket is what became of one thing that labd sent.
type ProbePacket struct {
	// Kind is icmp or tcp.
	Kind     string `json:"kind"`
	Port     uint16 `json:"port,omitempty"`
	Answered bool   `json:"answered"`
	Result   string `json:"result"`
	// RTTSeconds is how long the answer took; 0 without one.
	RTTSeconds float64 `json:"rttSeconds,omitempty"`
}

// ProbeCounter is a rule or policy, and how many packets it counted.
type ProbeCounter struct {
	Where   string `json:"where"`
	Table   string `json:"table"`
	Rule    string `json:"rule"`
	Packets uint64 `json:"packets"`
}
