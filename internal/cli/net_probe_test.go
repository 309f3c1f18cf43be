package cli

import (
	"strings"
	"testing"

	apiv1 "labd/api/v1"
)

var blocked = envelopeOf(apiv1.KindProbeReport, []apiv1.ProbeItem{{
	ID: "172.18.0.2:80", Network: "network/101/web", DockerContainer: "shop", Source: "192.168.50.1", Verdict: "blocked",
	Hops: []apiv1.ProbeHop{
		{Name: "route", Where: "host", State: "ok", Text: "the host sends it by vmbr0 via 10.77.0.101"},
		{Name: "pve-firewall", Where: "host", State: "blocking", Text: "PVE's firewall of the container drops it", Rule: "policy_in: DROP", Lines: []string{"/etc/pve/firewall/101.fw", "[RULES]", "IN ACCEPT -source 192.168.50.0/24 -dest 172.18.0.0/24 -log nolog"}},
		{Name: "container-raw", Where: "container 101", State: "blocking", Text: "PREROUTING in table raw drops it", Rule: "iptables-nft -t raw: -A PREROUTING -d 172.18.0.2/32 ! -i br-web -j DROP", Packets: 3},
		{Name: "container-forward", Where: "container 101", State: "unknown", Text: "a rule\x1b[31m"},
	},
	Packets: []apiv1.ProbePacket{{Kind: "icmp", Result: "no answer"}, {Kind: "tcp", Port: 80, Answered: true, Result: "connected", RTTSeconds: 0.0005}},
	Moved:   []apiv1.ProbeCounter{{Where: "container 101", Table: "raw", Rule: "-A PREROUTING -d 172.18.0.2/32 ! -i br-web -j DROP", Packets: 3}},
}}, apiv1.Finding{Code: "net.no-answer", Severity: apiv1.SeverityFail, Subject: "network/101/web", Title: "172.18.0.2:80 does not answer", Confidence: "unknown"})

func TestNetProbe(t *testing.T) {
	socket := answers{"POST /v1/probes": blocked}.start(t)
	for name, format := range map[string]string{"probe-table": "table", "probe-wide": "wide", "probe-name": "name"} {
		code, stdout, stderr := labctl(t, socket, "net", "probe", "172.18.0.2:80", "-o", format)
		if code != ExitFail || stderr != "" {
			t.Errorf("exit %d, %q", code, stderr)
		}
		if strings.Contains(stdout, "\x1b") {
			t.Errorf("a control character reached the terminal: %q", stdout)
		}
		golden(t, name, stdout)
	}
	for _, address := range []string{"web", "172.18.0.2:", "172.18.0.2:0", "172.18.0.2:99999", "172.18.0.2/24", ""} {
		if code, _, _ := labctl(t, socket, "net", "probe", address); code != ExitUsage {
			t.Errorf("%q: exit %d", address, code)
		}
	}
}
