package server

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"

	apiv1 "labd/api/v1"
	"labd/internal/network"
	"labd/internal/network/router"
)

// tree answers GET /v1/tree.
func (s *Server) tree(w http.ResponseWriter, r *http.Request) {
	report, err := get(r, s.Network)
	if err != nil {
		s.fail(w, err)
		return
	}
	items := treeToAPI(nil, network.Tree(report, s.Node), "", 0)
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindTreeReport, report.At, items, s.findingsToAPI(report.Findings), report.Notes))
}

func treeToAPI(items []apiv1.TreeItem, t network.TreeItem, parent string, depth int) []apiv1.TreeItem {
	items = append(items, apiv1.TreeItem{ID: t.ID, Kind: apiv1.TreeKind(t.Kind), Name: t.Name, Parent: parent, Depth: depth, Health: apiv1.Health(t.Health), State: t.State})
	for _, child := range t.Children {
		items = treeToAPI(items, child, t.ID, depth+1)
	}
	return items
}

// routerAdvice answers GET /v1/router: routes for a router, or names for a DNS server.
func (s *Server) routerAdvice(w http.ResponseWriter, r *http.Request) {
	report, err := get(r, s.Network)
	if err != nil {
		s.fail(w, err)
		return
	}
	query := r.URL.Query()
	remove, err := strconv.ParseBool(cmp.Or(query.Get("remove"), "0"))
	if err != nil {
		s.fail(w, fmt.Errorf("%w: remove is 1 or 0, not %q", ErrBadRequest, query.Get("remove")))
		return
	}
	var item apiv1.RouterItem
	var notes []string
	if format := query.Get("hosts"); format != "" {
		item, notes, err = namesToAPI(report, format)
	} else {
		item, notes, err = routesToAPI(report, router.Request{Style: cmp.Or(query.Get("style"), router.StylePlain), Remove: remove})
	}
	if err != nil {
		s.fail(w, fmt.Errorf("%w: %w", ErrBadRequest, err))
		return
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindRouterReport, report.At, []apiv1.RouterItem{item}, nil, notes))
}

func routesToAPI(report *network.Report, req router.Request) (apiv1.RouterItem, []string, error) {
	advice, err := router.Advise(report, req)
	if err != nil {
		return apiv1.RouterItem{}, nil, err
	}
	item := apiv1.RouterItem{ID: "router/" + advice.Style, Style: advice.Style, Remove: advice.Remove, Routes: []apiv1.RouterRoute{}, Text: advice.Text, Tried: advice.Tried}
	for _, route := range advice.Routes {
		item.Routes = append(item.Routes, apiv1.RouterRoute{Prefix: route.Prefix.String(), Via: route.Via.String(), Aggregate: route.Aggregate})
	}
	return item, advice.Notes, nil
}

func namesToAPI(report *network.Report, format string) (apiv1.RouterItem, []string, error) {
	advice, err := router.AdviseNames(report, format)
	if err != nil {
		return apiv1.RouterItem{}, nil, err
	}
	item := apiv1.RouterItem{ID: "router/hosts-" + advice.Format, Style: "hosts-" + advice.Format, Routes: []apiv1.RouterRoute{}, Text: advice.Text}
	for _, n := range advice.Names {
		item.Names = append(item.Names, apiv1.RouterName{Name: n.Name, Address: n.Address.String(), Network: string(n.Network)})
	}
	return item, advice.Notes, nil
}
