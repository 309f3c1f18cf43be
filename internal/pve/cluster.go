package pve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// FS is a read-only view of /etc/pve; names are relative to it.
type FS interface {
	fs.ReadFileFS
	fs.ReadDirFS
	fs.ReadLinkFS
}

// DirFS returns the FS of a directory, usually /etc/pve.
func DirFS(root string) FS { return dirFS{os.DirFS(root)} }

type dirFS struct{ fs.FS }

func (d dirFS) ReadFile(name string) ([]byte, error)       { return fs.ReadFile(d.FS, name) }
func (d dirFS) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(d.FS, name) }
func (d dirFS) ReadLink(name string) (string, error)       { return fs.ReadLink(d.FS, name) }
func (d dirFS) Lstat(name string) (fs.FileInfo, error)     { return fs.Lstat(d.FS, name) }

// Cluster is what the files of /etc/pve say about the cluster.
type Cluster struct {
	// Mounted is false when pmxcfs does not run: /etc/pve is then empty, which
	// must never be read as "nothing is configured".
	Mounted bool
	// Quorate is false when /etc/pve is read only.
	Quorate bool
	Node    string   // this node's name
	Name    string   // of the cluster; empty for a single node
	Members []Member // sorted by name; a single node is its own only member
}

// Member is a node of the cluster, online or not.
type Member struct {
	Name   string
	ID     int // corosync's node ID; 0 when not known
	IP     string
	Online bool
}

// Member returns the member of that name.
func (c Cluster) Member(name string) (Member, bool) {
	for _, m := range c.Members {
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// ReadCluster reads the cluster facts. Not mounted is no error, and a copy of
// /etc/pve, which lacks the link that pmxcfs makes, still names its members. A member is
// every node that .members or corosync.conf lists; directories below nodes/
// prove nothing, since they outlive a removed node.
//
// Quorum is read as PVE::Cluster::check_cfs_quorum does it, from the write bit
// of the link "local", which pmxcfs takes away; access(2) lies to root. What
// .members says must agree.
func ReadCluster(fsys FS) (Cluster, error) {
	var c Cluster
	info, err := fsys.Lstat("local")
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return c, fmt.Errorf("read cluster state: %w", err)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := fsys.ReadLink("local")
		if err != nil {
			return c, fmt.Errorf("read cluster state: %w", err)
		}
		c.Mounted = true
		c.Node = target[strings.LastIndexByte(target, '/')+1:]
		c.Quorate = info.Mode()&0o200 != 0
	}

	members := map[string]Member{}
	data, err := fsys.ReadFile(".members")
	switch {
	case err == nil:
		list, err := ParseMembers(data)
		if err != nil {
			return c, err
		}
		c.Name = list.Cluster
		c.Quorate = c.Quorate && list.Quorate
		for _, m := range list.Members {
			members[m.Name] = m
		}
	case !errors.Is(err, fs.ErrNotExist):
		return c, fmt.Errorf("read cluster state: %w", err)
	}
	data, err = fsys.ReadFile("corosync.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("read cluster state: %w", err)
	}
	for _, name := range ParseCorosyncNodes(data) {
		if _, ok := members[name]; !ok {
			members[name] = Member{Name: name}
		}
	}
	if len(members) == 0 && c.Node != "" {
		members[c.Node] = Member{Name: c.Node, Online: true}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		c.Members = append(c.Members, members[name])
	}
	return c, nil
}

// MemberList is the content of .members.
type MemberList struct {
	Node    string
	Cluster string // empty for a single node
	Quorate bool   // true for a single node
	Members []Member
}

// ParseMembers reads pmxcfs's .members. A single node has neither "cluster" nor
// "nodelist". Source: pve-cluster, status.c, cfs_create_memberlist_msg.
func ParseMembers(data []byte) (MemberList, error) {
	var raw struct {
		NodeName string `json:"nodename"`
		Cluster  *struct {
			Name    string `json:"name"`
			Quorate int    `json:"quorate"`
		} `json:"cluster"`
		NodeList map[string]struct {
			ID     int    `json:"id"`
			Online int    `json:"online"`
			IP     string `json:"ip"`
		} `json:"nodelist"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return MemberList{}, fmt.Errorf("parse .members: %w", err)
	}
	l := MemberList{Node: raw.NodeName, Quorate: true}
	if raw.Cluster != nil {
		l.Cluster, l.Quorate = raw.Cluster.Name, raw.Cluster.Quorate != 0
	}
	for _, name := range slices.Sorted(maps.Keys(raw.NodeList)) {
		n := raw.NodeList[name]
		l.Members = append(l.Members, Member{Name: name, ID: n.ID, IP: n.IP, Online: n.Online != 0})
	}
	return l, nil
}

// ParseCorosyncNodes returns the node names of a corosync.conf, in its order.
// Without a name PVE uses ring0_addr. Source: corosync.conf(5),
// PVE::Corosync::parse_conf and nodelist.
func ParseCorosyncNodes(data []byte) []string {
	var names, path []string
	node := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = trimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case strings.HasSuffix(line, "{"):
			path = append(path, trimSpace(strings.TrimSuffix(line, "{")))
			node = map[string]string{}
		case line == "}":
			if slices.Equal(path, []string{"nodelist", "node"}) {
				name := node["name"]
				if name == "" {
					name = node["ring0_addr"]
				}
				if name != "" {
					names = append(names, name)
				}
			}
			if len(path) > 0 {
				path = path[:len(path)-1]
			}
		default:
			if key, value, ok := strings.Cut(line, ":"); ok {
				node[trimSpace(key)] = trimSpace(value)
			}
		}
	}
	return names
}
