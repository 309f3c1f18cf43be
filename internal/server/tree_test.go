package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
	"labd/internal/network"
	"labd/internal/network/router"
)

// The styles that clients know are those that there are.
func TestRouterStyles(t *testing.T) {
	if diff := cmp.Diff(router.Styles(), apiv1.RouterStyles()); diff != "" {
		t.Errorf("-network +api/v1:\n%s", diff)
	}
	s := testServer(t)
	for _, style := range append(slices.Clone(apiv1.RouterStyles()), "") {
		var answer apiv1.Envelope[apiv1.RouterItem]
		ask(t, s, root, http.MethodGet, "/v1/router?style="+style, "", &answer)
		if len(answer.Items) != 1 || style != "" && answer.Items[0].Style != style {
			t.Errorf("%s: %+v", style, answer.Items)
		}
	}
	if diff := cmp.Diff(router.NamesFormats(), apiv1.HostsFormats()); diff != "" {
		t.Errorf("formats of names, -network +api/v1:\n%s", diff)
	}
	for _, query := range []string{"hosts=hosts", "hosts=pihole", "style=frr&remove=1", "style=frr&remove=0"} {
		var answer apiv1.Envelope[apiv1.RouterItem]
		ask(t, s, root, http.MethodGet, "/v1/router?"+query, "", &answer)
		if len(answer.Items) != 1 || answer.Items[0].Remove != strings.Contains(query, "remove=1") {
			t.Errorf("%s: %+v", query, answer.Items)
		}
	}
	for _, query := range []string{"style=cisco", "hosts=bind", "remove=perhaps"} {
		var problem apiv1.Problem
		if ask(t, s, root, http.MethodGet, "/v1/router?"+query, "", &problem); problem.Status != http.StatusBadRequest {
			t.Errorf("%s: %+v", query, problem)
		}
	}
}

// Each item of the tree comes behind the one that it hangs from.
func TestTreeToAPI(t *testing.T) {
	tree := network.TreeItem{ID: "node/pve1", Children: []network.TreeItem{{ID: "lxc/101", Children: []network.TreeItem{{ID: "network/101/web"}}}, {ID: "lxc/102"}}}
	want := []apiv1.TreeItem{{ID: "node/pve1"}, {ID: "lxc/101", Parent: "node/pve1", Depth: 1}, {ID: "network/101/web", Parent: "lxc/101", Depth: 2}, {ID: "lxc/102", Parent: "node/pve1", Depth: 1}}
	if diff := cmp.Diff(want, treeToAPI(nil, tree, "", 0)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
