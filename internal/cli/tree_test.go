package cli

import (
	"strings"
	"testing"

	apiv1 "labd/api/v1"
)

func TestTreeCommand(t *testing.T) {
	socket := answers{"GET /v1/tree?fresh=1": envelopeOf(apiv1.KindTreeReport, []apiv1.TreeItem{
		{ID: "node/pve1", Kind: "node", Name: "pve1", Health: "warn", State: "2 containers run"},
		{ID: "lxc/101", Kind: "lxc", Name: "docker", Parent: "node/pve1", Depth: 1, Health: "warn", State: "running"},
		{ID: "project/101/shop", Kind: "project", Name: "shop", Parent: "lxc/101", Depth: 2, Health: "warn"},
		{ID: "container/101/db", Kind: "container", Name: "db\x1b[2J", Parent: "project/101/shop", Depth: 3, Health: "warn", State: "running, unhealthy"},
		{ID: "network/101/web", Kind: "network", Name: "web", Parent: "container/101/db", Depth: 4, Health: "ok", State: "direct, ok, 172.18.0.2"},
		{ID: "network/101/bridge", Kind: "network", Name: "bridge", Parent: "lxc/101", Depth: 2, Health: "ok"},
		{ID: "lxc/102", Kind: "lxc", Name: "other", Parent: "node/pve1", Depth: 1, Health: "ok"},
	})}.start(t)
	code, out, _ := labctl(t, socket, "tree")
	want := `WHAT                            HEALTH  STATE
node pve1                       warn    2 containers run
├─ lxc docker                   warn    running
│  ├─ project shop              warn    -
│  │  └─ container db\x1b[2J    warn    running, unhealthy
│  │     └─ network web         ok      direct, ok, 172.18.0.2
│  └─ network bridge            ok      -
└─ lxc other                    ok      -
`
	if squeeze(out) != squeeze(want) || code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	if _, out, _ := labctl(t, socket, "tree", "-o", "name"); !strings.HasPrefix(out, "node/pve1\nlxc/101\nproject/101/shop\n") {
		t.Errorf("names:\n%s", out)
	}
}

// squeeze makes runs of blanks one.
func squeeze(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}
