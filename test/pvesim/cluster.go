package pvesim

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"labd/internal/pve"
)

func (s *Server) getVersion(*call) (any, error) {
	if s.cfg.Major == 8 {
		return map[string]string{"release": "8.4", "version": "8.4.14", "repoid": "b502d23c55afcba1"}, nil
	}
	return map[string]string{"release": "9.2", "version": "9.2.11", "repoid": "14a22df35955d97d"}, nil
}

func (s *Server) uptime() int64 { return int64(time.Since(s.started)/time.Second) + 1 }

func (s *Server) getNodes(c *call) (any, error) {
	row := map[string]any{
		"id": "node/" + s.cfg.Node, "node": s.cfg.Node, "type": "node", "status": "online", "level": "",
		"ssl_fingerprint": s.ca.fingerprint,
	}
	if c.who.may("/nodes/"+s.cfg.Node, "Sys.Audit") {
		s.addLoad(row)
	}
	return []any{row}, nil
}

// addLoad adds figures that only have to look like a node's.
func (s *Server) addLoad(row map[string]any) {
	row["cpu"], row["maxcpu"], row["mem"], row["maxmem"] = 0.01, 4, 2<<30, 8<<30
	row["disk"], row["maxdisk"], row["uptime"] = 4<<30, 32<<30, s.uptime()
}

func (s *Server) getClusterStatus(c *call) (any, error) {
	if err := c.check("/", "Sys.Audit"); err != nil {
		return nil, err
	}
	cluster, err := pve.ReadCluster(pve.DirFS(s.path("etc/pve")))
	if err != nil {
		return nil, err
	}
	rows := []any{}
	if cluster.Name != "" {
		rows = append(rows, map[string]any{
			"id": "cluster", "type": "cluster", "name": cluster.Name, "version": 2,
			"nodes": len(cluster.Members), "quorate": number(cluster.Quorate),
		})
	}
	for _, m := range cluster.Members {
		if m.Name == s.cfg.Node && m.IP == "" {
			m.IP = s.cfg.Address
		}
		rows = append(rows, map[string]any{
			"id": "node/" + m.Name, "type": "node", "name": m.Name, "nodeid": m.ID, "ip": m.IP, "level": "",
			"local": number(m.Name == s.cfg.Node), "online": number(m.Online),
		})
	}
	return rows, nil
}

func (s *Server) getResources(c *call) (any, error) {
	typ := c.params["type"]
	switch typ {
	case "", "vm", "storage", "node", "sdn":
	default:
		return nil, badParam("type",
			fmt.Sprintf("value '%s' does not have a value in the enumeration 'vm, storage, node, sdn'", typ))
	}
	rows := []any{}
	if (typ == "" || typ == "node") && c.who.may("/nodes/"+s.cfg.Node, "Sys.Audit") {
		row := map[string]any{
			"id": "node/" + s.cfg.Node, "node": s.cfg.Node, "type": "node", "status": "online", "level": "", "cgroup-mode": 2,
		}
		s.addLoad(row)
		rows = append(rows, row)
	}
	if typ == "" || typ == "vm" {
		rows = append(rows, s.guestRows(c)...)
	}
	if typ == "" || typ == "storage" {
		more, err := s.storageResources(c)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func (s *Server) guestRows(c *call) []any {
	var rows []any
	for dir, kind := range map[string]string{"qemu-server": "qemu", "lxc": "lxc"} {
		files, _ := filepath.Glob(s.path("etc/pve/nodes/*", dir, "*.conf"))
		for _, f := range files {
			id, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(f), ".conf"))
			if err != nil || !c.who.may(fmt.Sprintf("/vms/%d", id), "VM.Audit") {
				continue
			}
			node := filepath.Base(filepath.Dir(filepath.Dir(f)))
			row := map[string]any{
				"id": fmt.Sprintf("%s/%d", kind, id), "vmid": id, "node": node, "type": kind, "status": "unknown",
			}
			for _, p := range c.who.users.pools {
				for _, vm := range p.Guests {
					if vm == strconv.Itoa(id) {
						row["pool"] = p.ID
					}
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// storageResources lists the entries that are enabled here. PVE shows the state
// of the last five minutes; here it is the present one.
func (s *Server) storageResources(c *call) ([]any, error) {
	cfg, err := s.allStorages()
	if err != nil {
		return nil, err
	}
	var rows []any
	for _, st := range cfg.Sections {
		if st.Disabled() || !st.OnNode(s.cfg.Node) || !c.who.may("/storage/"+st.ID, "Datastore.Audit") {
			continue
		}
		row := map[string]any{
			"id": "storage/" + s.cfg.Node + "/" + st.ID, "storage": st.ID, "node": s.cfg.Node, "type": "storage",
			"plugintype": st.Type, "content": st.Get("content"), "shared": number(st.Shared()), "status": "unknown",
		}
		if state := s.nodeRow(st); state["active"] == 1 {
			row["status"], row["disk"], row["maxdisk"] = "available", state["used"], state["total"]
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// WriteCA puts the root certificate where PVE keeps it.
func (s *Server) WriteCA() error {
	dir := "etc/pve/nodes/" + s.cfg.Node
	if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
		return err
	}
	for name, data := range map[string][]byte{"etc/pve/pve-root-ca.pem": s.ca.pem, dir + "/pve-ssl.pem": s.ca.nodePEM, dir + "/pve-ssl.key": s.ca.nodeKey} {
		if err := os.WriteFile(s.path(name), data, 0o640); err != nil {
			return err
		}
	}
	return nil
}
