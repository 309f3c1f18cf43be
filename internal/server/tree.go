package server

import (
	"cmp"
	"fmt"
	"net/http"

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
	items = append(items, apiv1.TreeItem{ID: t.ID, Kind: t.Kind, Name: t.Name, Parent: parent, Depth: depth, Health: t.Health, State: t.State})
	for _, child := range t.Children {
		items = treeToAPI(items, child, t.ID, depth+1)
	}
	return items
}

// routerAdvice answers GET /v1/router.
func (s *Server) routerAdvice(w http.ResponseWriter, r *http.Request) {
	report, err := get(r, s.Network)
	if err != nil {
		s.fail(w, err)
		return
	}
	advice, err := router.Advise(report, cmp.Or(r.URL.Query().Get("style"), router.StylePlain))
	if err != nil {
		s.fail(w, fmt.Errorf("%w: %w", ErrBadRequest, err))
		return
	}
	item := apiv1.RouterItem{ID: "router/" + advice.Style, Style: advice.Style, Routes: []apiv1.RouterRoute{}, Text: advice.Text}
	for _, route := range advice.Routes {
		item.Routes = append(item.Routes, apiv1.RouterRoute{Prefix: route.Prefix.String(), Via: route.Via.String(), Aggregate: route.Aggregate})
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindRouterReport, report.At, []apiv1.RouterItem{item}, nil, advice.Notes))
}
