package stream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Container is one Docker container that a stream leads to.
type Container struct {
	ID, Name string
	Running  bool
	// PID is its init process as the daemon names it, in the daemon's PID namespace; 0 where it does not run.
	PID int
	// Addresses are its addresses in Docker networks, in the order of the networks' names.
	Addresses []netip.Addr
}

// What a name may be.
var (
	// ErrNoContainer says that no container has a name.
	ErrNoContainer = errors.New("no such Docker container")
	// ErrAmbiguous says that several have it.
	ErrAmbiguous = errors.New("several Docker containers match")
)

// minIDPrefix is how much of an id must be given: what docker ps prints.
const minIDPrefix = 12

// maxCandidates is how many names an error lists.
const maxCandidates = 10

// listed is an entry of GET /containers/json.
type listed struct {
	ID     string `json:"Id"`
	Names  []string
	Labels map[string]string
}

// Find looks for a container by its name, by PROJECT/SERVICE of compose, or by at least 12 digits of its id. It fails with
// ErrNoContainer or ErrAmbiguous, both with the names that there are.
func (d Docker) Find(ctx context.Context, name string) (Container, error) {
	var list []listed
	if err := d.ask(ctx, http.MethodGet, "/containers/json?all=1", nil, &list); err != nil {
		return Container{}, err
	}
	id, err := match(list, name)
	if err != nil {
		return Container{}, err
	}
	var state struct {
		ID    string `json:"Id"`
		Name  string
		State struct {
			Running bool
			Pid     int
		}
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress, GlobalIPv6Address string }
		}
	}
	if err := d.ask(ctx, http.MethodGet, "/containers/"+url.PathEscape(id)+"/json", nil, &state); err != nil {
		return Container{}, err
	}
	c := Container{ID: id, Name: strings.TrimPrefix(state.Name, "/"), Running: state.State.Running, PID: state.State.Pid}
	var networks []string
	for network := range state.NetworkSettings.Networks {
		networks = append(networks, network)
	}
	slices.Sort(networks)
	for _, network := range networks {
		n := state.NetworkSettings.Networks[network]
		for _, text := range []string{n.IPAddress, n.GlobalIPv6Address} {
			if addr, err := netip.ParseAddr(text); err == nil {
				c.Addresses = append(c.Addresses, addr)
			}
		}
	}
	return c, nil
}

// match returns the id of the container that a name means. A full name goes before everything else.
func match(list []listed, name string) (string, error) {
	project, service, compose := strings.Cut(name, "/")
	var found []listed
	for _, c := range list {
		if slices.Contains(c.Names, "/"+name) || c.ID == name {
			return c.ID, nil
		}
		if compose && c.Labels["com.docker.compose.project"] == project && c.Labels["com.docker.compose.service"] == service ||
			len(name) >= minIDPrefix && strings.HasPrefix(c.ID, name) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 1:
		return found[0].ID, nil
	case 0:
		return "", fmt.Errorf("%w: %s; there are: %s", ErrNoContainer, name, names(list))
	}
	return "", fmt.Errorf("%w %s: %s", ErrAmbiguous, name, names(found))
}

// names are the names of containers for an error, a bounded number of them.
func names(list []listed) string {
	var out []string
	for _, c := range list {
		if len(c.Names) > 0 {
			out = append(out, strings.TrimPrefix(c.Names[0], "/"))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	slices.Sort(out)
	more := ""
	if len(out) > maxCandidates {
		more = fmt.Sprintf(" and %d more", len(out)-maxCandidates)
		out = out[:maxCandidates]
	}
	return strings.Join(out, ", ") + more
}
