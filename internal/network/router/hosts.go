package router

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"labd/internal/finding"
	"labd/internal/network"
	"labd/internal/route"
)

// endpoint is an address by which a Docker container is reached.
type endpoint struct {
	address            netip.Addr
	container, project string
	network            finding.Subject
	ct                 int
	ctName             string
}

// endpoints returns the addresses by which the running Docker containers are reached, those of networks that labd opens.
func endpoints(r *network.Report) []endpoint {
	var out []endpoint
	facts := r.Facts()
	for i := range r.Networks {
		n := &r.Networks[i]
		if !slices.ContainsFunc(r.Want.Routes, func(w route.Route) bool { return slices.Contains(n.Routes, w) }) {
			continue
		}
		for j := range facts.Containers {
			c := &facts.Containers[j]
			if c.ID != n.Container || c.Docker == nil {
				continue
			}
			for _, box := range c.Docker.Containers {
				for _, addr := range box.Addresses[n.Name] {
					if at, ok := n.ReachedAt(addr); ok {
						out = append(out, endpoint{at, box.Name, box.Project, n.Subject(), c.ID, c.Name})
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b endpoint) int {
		return cmp.Or(cmp.Compare(a.ct, b.ct), cmp.Compare(a.project, b.project), cmp.Compare(a.container, b.container), a.address.Compare(b.address))
	})
	return out
}

// Name is a name for the address of a Docker container.
type Name struct {
	// Name is container.project.ct, or container.ct where the container belongs to no compose project: lower case, letters,
	// digits and hyphens. ct is the LXC container's host name, with its number where another one has the same.
	Name    string
	Address netip.Addr
	// Network is the subject of the Docker network that the address is in.
	Network finding.Subject
}

// namesFormat writes names for one kind of DNS server.
type namesFormat struct {
	name, title, apply, undo, sign string
	line                           func(Name) string
}

func hostsLine(n Name) string { return n.Address.String() + " " + n.Name }

var namesFormats = []namesFormat{
	{"hosts", "/etc/hosts", "append to /etc/hosts of each machine, in the place of an older block of labd", "delete the lines between '# labd begin' and '# labd end'", "#", hostsLine},
	{"dnsmasq", "dnsmasq", "this is the file /etc/dnsmasq.d/labd-hosts.conf; then 'dnsmasq --test' and restart dnsmasq", "rm /etc/dnsmasq.d/labd-hosts.conf, and restart dnsmasq", "#", func(n Name) string { return "host-record=" + n.Name + "," + n.Address.String() }},
	{"pihole", "Pi-hole 6", "this is the file /etc/pihole/hosts/labd.list; Pi-hole reads it by itself", "rm /etc/pihole/hosts/labd.list, and 'pihole reloaddns'", "#", hostsLine},
	{"adguard", "AdGuard Home", "Filters > Custom filtering rules: paste, in the place of an older block of labd; Apply", "delete the lines between '! labd begin' and '! labd end'", "!", hostsLine},
}

// NamesFormats returns the formats of names, that of /etc/hosts first.
func NamesFormats() []string {
	var out []string
	for _, f := range namesFormats {
		out = append(out, f.name)
	}
	return out
}

// NamesAdvice is names for a DNS server.
type NamesAdvice struct {
	Format string
	Names  []Name
	Text   string
	Notes  []string
}

// AdviseNames returns the names of the Docker containers that are reached, for one kind of DNS server. It is pure.
func AdviseNames(r *network.Report, format string) (*NamesAdvice, error) {
	i := slices.IndexFunc(namesFormats, func(f namesFormat) bool { return f.name == format })
	if i < 0 {
		return nil, fmt.Errorf("%w %q: one of %s", ErrStyle, format, strings.Join(NamesFormats(), ", "))
	}
	f := namesFormats[i]
	a := &NamesAdvice{Format: f.name}
	a.name(endpoints(r))
	if len(a.Names) == 0 {
		a.Notes = append(a.Notes, "no Docker container is reached, so there is nothing to name")
		return a, nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%[1]s labd begin: names of Docker containers, for %[2]s\n%[1]s apply: %[3]s\n", f.sign, f.title, f.apply)
	for _, n := range a.Names {
		b.WriteString(f.line(n) + "\n")
	}
	fmt.Fprintf(&b, "%[1]s test, from a client: nslookup %[2]s\n%[1]s undo: %[3]s\n%[1]s labd end\n", f.sign, a.Names[0].Name, f.undo)
	a.Text = b.String()
	a.Notes = append(a.Notes, "the addresses are those of now: Docker gives a container another one when it is made again; print the names again then, or fix addresses in compose (ipv4_address)")
	return a, nil
}

// name gives each endpoint a name. Two that would get the same name get none: a name must not lead to somebody else.
func (a *NamesAdvice) name(list []endpoint) {
	cts := map[string]map[int]bool{}
	for _, e := range list {
		l := label(e.ctName)
		if cts[l] == nil {
			cts[l] = map[int]bool{}
		}
		cts[l][e.ct] = true
	}
	users := map[string]map[string]bool{}
	names := make([]string, len(list))
	for i, e := range list {
		ct := label(e.ctName)
		switch {
		case ct == "":
			ct = "ct" + strconv.Itoa(e.ct)
		case len(cts[ct]) > 1:
			ct = label(ct + "-" + strconv.Itoa(e.ct))
		}
		container, project := label(e.container), label(e.project)
		if container == "" {
			continue
		}
		names[i] = container + "." + ct
		if project != "" {
			names[i] = container + "." + project + "." + ct
		}
		if users[names[i]] == nil {
			users[names[i]] = map[string]bool{}
		}
		users[names[i]][fmt.Sprintf("%d/%s", e.ct, e.container)] = true
	}
	said := map[string]bool{}
	for i, e := range list {
		switch {
		case names[i] == "":
			a.Notes = append(a.Notes, fmt.Sprintf("container %s of %s has a name of which nothing can stand in DNS", e.container, e.network))
		case len(users[names[i]]) > 1:
			if !said[names[i]] {
				a.Notes = append(a.Notes, fmt.Sprintf("%s is left out: %d containers would have this name", names[i], len(users[names[i]])))
			}
			said[names[i]] = true
		default:
			a.Names = append(a.Names, Name{names[i], e.address, e.network})
		}
	}
}

// label returns a text as a label of DNS (RFC 1123): what cannot stand in one becomes a hyphen.
func label(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else {
			b.WriteByte('-')
		}
	}
	out := strings.Trim(b.String(), "-")
	return strings.Trim(out[:min(len(out), 63)], "-")
}
