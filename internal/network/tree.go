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
	// ID is node/NAME, lxc/CT, project/CT/NAME, container/CT/NAME, network/CT/NAME or route/PREFIX; each is there once.
	ID, Kind, Name string
	// Health is the worst of the thing itself and of what is below.
	Health string
	// State says in words what it is doing.
	State    string
	Children []TreeItem
}

// Tree returns the node with its LXC containers, those that do not run last, their Docker containers by compose project, the networks and the
// routes that lead there. A network stands below what uses it: the one Docker container, the one project, else the LXC
// container. It is pure.
func Tree(r *Report, node string) TreeItem {
	root := TreeItem{ID: "node/" + node, Kind: KindNode, Name: node, Health: HealthOK}
	for i := range r.facts.Containers {
		root.add((&tree{report: r, container: &r.facts.Containers[i]}).lxc())
	}
	root.State = count(len(root.Children), "container") + " running"
	for _, id := range r.facts.Stopped {
		name := strconv.Itoa(id)
		root.add(TreeItem{ID: string(finding.LXC(name)), Kind: KindLXC, Name: name, Health: HealthInfo, State: "stopped"})
	}
	return root
}

// count returns a number with its noun.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// add puts a child below, whose health counts for what is above.
func (t *TreeItem) add(child TreeItem) {
	t.Children = append(t.Children, child)
	t.worsen(health.Level(child.Health))
}

func (t *TreeItem) worsen(l health.Level) {
	t.Health = string(health.Worst(health.Level(t.Health), l))
}

// tree makes what is below one LXC container.
type tree struct {
	report    *Report
	container *Container
}

func (t *tree) lxc() TreeItem {
	c := t.container
	id := strconv.Itoa(c.ID)
	subject := finding.LXC(id)
	out := TreeItem{ID: string(subject), Kind: KindLXC, Name: cmp.Or(c.Name, id), Health: HealthOK, State: "running"}
	if c.Name != "" {
		out.State = "container " + id + ", running"
	}
	if c.Address.IsValid() {
		out.State += ", " + c.Address.String()
	}
	switch {
	case c.Err != nil:
		out.Health, out.State = HealthUnknown, out.State+", "+c.Err.Error()
	case c.NoDocker:
		out.State += ", no Docker"
	case c.ByKernel:
		out.State += ", no Docker answers"
	case c.Docker != nil && c.Docker.Version != "":
		out.State += ", Docker " + c.Docker.Version
	}
	if c.DockerErr != nil {
		out.worsen(health.Unknown)
	}
	told := map[string]bool{}
	for _, f := range t.report.Findings {
		if f.Subject == subject {
			out.worsen(f.Severity.Health())
			if f.Severity >= finding.Warn && !told[f.Title] {
				out.State += "; " + f.Title
				told[f.Title] = true
			}
		}
	}
	if c.Docker == nil {
		if c.DockerErr != nil && len(told) == 0 {
			out.State += "; its Docker cannot be asked: " + c.DockerErr.Error()
		}
		return out
	}
	t.boxes(&out)
	t.networks(&out, func(users []docker.Container) bool { return !oneProject(users) })
	return out
}

// users are the Docker containers in a network, running or not.
func (t *tree) users(n Network) []docker.Container {
	var out []docker.Container
	for _, box := range t.container.Docker.Containers {
		if _, in := box.Addresses[n.Name]; in {
			out = append(out, box)
		}
	}
	return out
}

// oneProject reports whether the users of a network are one container, or all of one compose project.
func oneProject(users []docker.Container) bool {
	if len(users) == 0 {
		return false
	}
	for _, u := range users[1:] {
		if u.Project != users[0].Project || u.Project == "" {
			return false
		}
	}
	return true
}

// networks puts those networks below an item whose users are as wanted.
func (t *tree) networks(below *TreeItem, wanted func(users []docker.Container) bool) {
	for _, n := range t.report.Networks {
		if n.Container != t.container.ID {
			continue
		}
		if users := t.users(n); wanted(users) {
			below.add(t.network(n, users))
		}
	}
}

// boxes puts the Docker containers below their LXC container, those of a compose project below that.
func (t *tree) boxes(out *TreeItem) {
	boxes := slices.SortedFunc(slices.Values(t.container.Docker.Containers), func(a, b docker.Container) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Name, b.Name))
	})
	for i := 0; i < len(boxes); {
		project := boxes[i].Project
		if project == "" {
			out.add(t.box(boxes[i]))
			i++
			continue
		}
		item := TreeItem{ID: fmt.Sprintf("project/%d/%s", t.container.ID, project), Kind: KindProject, Name: project, Health: HealthOK}
		for ; i < len(boxes) && boxes[i].Project == project; i++ {
			item.add(t.box(boxes[i]))
		}
		item.State = count(len(item.Children), "container")
		t.networks(&item, func(users []docker.Container) bool {
			return len(users) > 1 && oneProject(users) && users[0].Project == project
		})
		out.add(item)
	}
}

// box is one Docker container, with the networks that it alone uses.
func (t *tree) box(box docker.Container) TreeItem {
	out := TreeItem{ID: fmt.Sprintf("container/%d/%s", t.container.ID, box.Name), Kind: KindContainer, Name: box.Name, Health: boxHealth(box), State: box.State}
	if box.Health != "" {
		out.State += ", " + box.Health
	}
	if box.Service != "" && box.Service != box.Name {
		out.State += ", service " + box.Service
	}
	for _, n := range t.report.Networks {
		if n.Container != t.container.ID || len(box.Addresses[n.Name]) == 0 {
			continue
		}
		var at []string
		for _, addr := range box.Addresses[n.Name] {
			at = append(at, n.addressText(addr))
		}
		out.State += ", " + strings.Join(at, ", ")
	}
	if box.HostNetwork {
		out.State += ", host network"
		if t.container.Address.IsValid() {
			out.State += ": the addresses of the LXC container, " + t.container.Address.String()
		}
	}
	if ports := published(box.Ports); ports != "" {
		out.State += ", published " + ports
	}
	t.networks(&out, func(users []docker.Container) bool { return len(users) == 1 && users[0].Name == box.Name })
	return out
}

// published returns the published ports, as "8080 to 80/tcp".
func published(ports []docker.Port) string {
	var out []string
	for _, p := range ports {
		if p.PublishedOn == "" || p.HostPort == 0 {
			continue
		}
		text := fmt.Sprintf("%d to %d/%s", p.HostPort, p.Number, p.Protocol)
		if addr, err := netip.ParseAddr(p.PublishedOn); err == nil && !addr.IsUnspecified() {
			text = netip.AddrPortFrom(addr, p.HostPort).String() + fmt.Sprintf(" to %d/%s", p.Number, p.Protocol)
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
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

// network is one network with its routes.
func (t *tree) network(n Network, users []docker.Container) TreeItem {
	r := t.report
	out := TreeItem{ID: string(n.Subject()), Kind: KindNetwork, Name: n.Name, Health: HealthOK, State: fmt.Sprintf("%s, %s", n.Mode, n.Verdict)}
	out.worsen(r.networkHealth(n))
	if len(users) == 0 {
		out.State += ", no Docker container uses it"
	}
	for _, want := range n.Routes {
		item := TreeItem{ID: string(finding.Route(want.Dst.String())), Kind: KindRoute, Name: want.Dst.String(), Health: HealthOK, State: fmt.Sprintf("via %s dev %s", want.Via, want.Dev)}
		if !slices.Contains(r.facts.Host.Own, want) {
			item.Health, item.State = HealthInfo, item.State+", not made"
		}
		out.add(item)
	}
	return out
}

// networkHealth returns how well a network is: as bad as the findings of it, which labctl net list shows, and never well
// where its verdict is not. What is planned or refused is as bad as the findings say that explain it.
func (r *Report) networkHealth(n Network) health.Level {
	found, explained := health.OK, false
	for _, f := range r.Findings {
		if f.Subject == n.Subject() {
			found, explained = health.Worst(found, f.Severity.Health()), true
		}
	}
	switch n.Verdict {
	case VerdictOK:
		return found
	case VerdictPlanned:
		return health.Worst(found, health.Info)
	case VerdictRefused:
		if explained {
			return health.Worst(found, health.Info)
		}
		return health.Warn
	case VerdictUnknown:
		return health.Worst(found, health.Unknown)
	default:
		return health.Worst(found, health.Warn)
	}
}
