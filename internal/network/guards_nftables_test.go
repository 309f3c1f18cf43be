package network

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/netfilter"
)

// nftShape is how a Docker with the nftables backend is set.
type nftShape struct {
	name string
	// mark, direct: bridge-accept-fwmark and allow-direct-routing of its daemon. mode is the network's gateway mode.
	mark   string
	direct bool
	mode   string
}

// ruleset is the rule set that such a Docker makes, in Docker 29's shape.
func (s nftShape) ruleset(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../netfilter/testdata/docker-29.nft")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		switch {
		case strings.Contains(line, "ALLOW FW MARK"):
			if s.mark == "" {
				continue
			}
			line = strings.Replace(line, "meta mark 0x0000004c", "meta mark "+s.mark, 1)
		case strings.Contains(line, "DROP DIRECT ACCESS") && (s.direct || s.mode != "nat"):
			continue
		case strings.Contains(line, "UNPUBLISHED PORT DROP") && s.mode != "nat":
			line = "\t\tcounter accept comment \"UNPROTECTED\"\n"
		}
		out.WriteString(line)
	}
	return out.String()
}

// What works with Docker's nftables backend, with packets: what labd says it can open is open, and what it cannot it says.
func TestNFTablesBackend(t *testing.T) {
	for _, tt := range []struct {
		nftShape
		can, alias bool // whether labd can open it directly, and by an alias
	}{
		{nftShape{"as installed", "", false, "nat"}, false, false},
		{nftShape{"a mark", "0x4c", false, "nat"}, false, true},
		{nftShape{"a mark with a mask", "& 0x03 == 0x02", false, "nat"}, false, true},
		{nftShape{"a mark and direct routing", "0x4c", true, "nat"}, true, true},
		{nftShape{"direct routing alone", "", true, "nat"}, false, false},
		{nftShape{"nat-unprotected", "", false, "nat-unprotected"}, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, "", netfilter.NFT)
			if _, err := b.ct.output(tt.ruleset(t), "nft", "-f", "-"); err != nil {
				t.Fatal(err)
			}
			b.containers.docker = func(context.Context, int) (*docker.Info, error) {
				info := webInfo()
				info.FirewallBackend, info.Networks[0].GatewayMode = "nftables", tt.mode
				return info, nil
			}
			b.serve(b.box, "hello")
			before := b.ct.run("nft", "list", "tables")
			b.wantMode(t, ModeDirect, boxAddr, tt.can)
			b.policy.AliasPools = prefixes("10.99.0.0/16")
			b.policy.DefaultMode = ModeAlias
			b.wantMode(t, ModeAlias, "10.99.0.2", tt.alias)
			b.off()
			if after := b.ct.run("nft", "list", "tables"); strings.Contains(after, "labd") || !strings.Contains(after, strings.TrimSpace(before)) {
				t.Errorf("tables after off: %q, before: %q", after, before)
			}
		})
	}
}

// wantMode applies and looks whether packets arrive, and whether labd says so.
func (b *bed) wantMode(t *testing.T, mode, address string, can bool) {
	t.Helper()
	b.run(b.planApply(true))
	n := b.network("web")
	_, r := b.look()
	told := slices.Contains(finding.Codes(r.Findings, n.Subject()), "net.nft-backend")
	b.wantPingTo(mode, address, can)
	if can != (n.Verdict == VerdictOK) || can == told || n.Mode != mode {
		t.Fatalf("%s: verdict %s (%s), findings %v", mode, n.Verdict, n.Reason, finding.Codes(r.Findings, n.Subject()))
	}
	if p := b.probe(address + ":80"); can && p.Verdict != "ok" {
		t.Errorf("%s: probe %+v", mode, p)
	}
	if again := b.planApply(true); len(again.Steps) != 0 {
		t.Errorf("%s: applied twice: %+v", mode, again.Steps)
	}
}
