package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"labd/internal/docker"
	"labd/internal/finding"
	"labd/internal/health"
)

// Kinds of a TreeItem, from the top down.
const (
	KindNode      = "node"
	KindLXC       = "lxc"
	KindProject   = "project"
	KindContainer = "container"
	KindNetwork   = "network"
	KindRoute     = "route"
)

// Healths of a TreeItem.
const (
	HealthOK      = string(health.OK)
	HealthInfo    = string(health.Info)
	HealthWarn    = string(health.Warn)
	HealthFail    = string(health.Fail)
	HealthUnknown = string(health.Unknown)
)

// TreeItem is one thing with what is below it.
type TreeItem struct {
	// ID is node/NAME, lxc/CT, project/CT/NAME, container/CT/NAME, network/CT/NAME or route/PREFIX.
	ID, Kind, Name string
	// Health is that of the thing itself; for node, lxc and project the worst of what is below, too.
	Health string
	// State says in words what it is doing.
	State    string
	Children []TreeItem
}

// Tree is the node with its running LXC containers, their Docker containers by compose project, the networks of each and
// the routes that lead there. Networks that no Docker container uses stand below the LXC container. It is pure.
func Tree(r *Report, node string) TreeItem {
	root := TreeItem{ID: "node/" + node, Kind: KindNode, Name: node, Health: HealthOK}
	for i := range r.facts.Containers {
		root.add(r.treeLXC(&r.facts.Containers[i]))
	}
	root.State = fmt.Sprintf("%d containers run", len(root.Children))
	return root
}

// add puts a child below, whose health counts for what is above.
func (t *TreeItem) add(child TreeItem) {
	t.Children = append(t.Children, child)
	if health.Level(child.Health).Worse(health.Level(t.Health)) {
		t.Health = child.Health
	}
}

func (r *Report) treeLXC(c *Container) TreeItem {
	id := strconv.Itoa(c.ID)
	subject := finding.LXC(id)
	out := TreeItem{ID: string(subject), Kind: KindLXC, Name: cmp.Or(c.Name, id), Health: HealthOK, State: "running"}
	if c.Address.IsValid() {
		out.State += ", " + c.Address.String()
	}
	switch {
	case c.Err != nil:
		out.Health, out.State = HealthUnknown, c.Err.Error()
	case c.NoDocker:
		out.State += ", no Docker"
	case c.ByKernel:
		out.State += ", no Docker answers"
	case c.Docker != nil && c.Docker.Version != "":
		out.State += ", Docker " + c.Docker.Version
	}
	for _, f := range r.Findings {
		if f.Subject == subject && f.Severity.Health().Worse(health.Level(out.Health)) {
			out.Health = f.Severity.String()
		}
	}
	if c.Docker == nil {
		return out
	}
	r.addBoxes(&out, c)
	for _, n := range r.Networks {
		inUse := func(ct docker.Container) bool { return len(ct.Addresses[n.Name]) > 0 }
		if n.Container == c.ID && !slices.ContainsFunc(c.Docker.Containers, inUse) {
			out.add(r.treeNetwork(n))
		}
	}
	return out
}

// addBoxes puts the Docker containers below their LXC container, those of a compose project below that.
func (r *Report) addBoxes(out *TreeItem, c *Container) {
	boxes := slices.SortedFunc(slices.Values(c.Docker.Containers), func(a, b docker.Container) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Name, b.Name))
	})
	var project *TreeItem
	flush := func() {
		if project != nil {
			project.State = fmt.Sprintf("%d containers", len(project.Children))
			out.add(*project)
			project = nil
		}
	}
	for _, box := range boxes {
		item := r.treeBox(c, box)
		if project != nil && project.Name != box.Project {
			flush()
		}
		if box.Project == "" {
			out.add(item)
			continue
		}
		if project == nil {
			project = &TreeItem{ID: fmt.Sprintf("project/%d/%s", c.ID, box.Project), Kind: KindProject, Name: box.Project, Health: HealthOK}
		}
		project.add(item)
	}
	flush()
}

// treeBox is one Docker container with its networks.
func (r *Report) treeBox(c *Container, box docker.Container) TreeItem {
	out := TreeItem{ID: fmt.Sprintf("container/%d/%s", c.ID, box.Name), Kind: KindContainer, Name: box.Name, Health: boxHealth(box), State: box.State}
	if box.Health != "" {
		out.State += ", " + box.Health
	}
	if box.Service != "" && box.Service != box.Name {
		out.State += ", service " + box.Service
	}
	for _, n := range r.Networks {
		if n.Container != c.ID || len(box.Addresses[n.Name]) == 0 {
			continue
		}
		network := r.treeNetwork(n)
		var at []string
		for _, addr := range box.Addresses[n.Name] {
			at = append(at, n.addressText(addr))
		}
		network.State += ", " + strings.Join(at, ", ")
		out.Children = append(out.Children, network)
	}
	return out
}

// addressText is an address of a Docker container, with that by which others reach it where it is another one.
func (n Network) addressText(addr netip.Addr) string {
	if at, ok := n.reachedAt(addr); ok && at != addr {
		return fmt.Sprintf("%s at %s", addr, at)
	}
	return addr.String()
}

func boxHealth(box docker.Container) string {
	switch {
	case box.Health == docker.Unhealthy, box.State == "dead", box.State == "restarting":
		return HealthWarn
	case box.State == docker.StateRunning && box.Health == docker.Starting:
		return HealthInfo
	case box.State == docker.StateRunning:
		return HealthOK
	case box.State == docker.StateUnknown:
		return HealthUnknown
	default:
		return HealthInfo // somebody stopped it
	}
}

func (r *Report) treeNetwork(n Network) TreeItem {
	out := TreeItem{ID: string(n.Subject()), Kind: KindNetwork, Name: n.Name, Health: networkHealth(n.Verdict), State: n.Mode + ", " + n.Verdict}
	for _, route := range n.Routes {
		item := TreeItem{ID: string(finding.Route(route.Dst.String())), Kind: KindRoute, Name: route.Dst.String(), Health: HealthOK, State: fmt.Sprintf("via %s dev %s", route.Via, route.Dev)}
		if !slices.Contains(r.facts.Host.Own, route) {
			item.Health, item.State = HealthInfo, item.State+", not made"
		}
		out.Children = append(out.Children, item)
	}
	return out
}

func networkHealth(verdict string) string {
	switch verdict {
	case VerdictOK:
		return HealthOK
	case VerdictPlanned:
		return HealthInfo
	case VerdictUnknown:
		return HealthUnknown
	default:
		return HealthWarn
	}
}
