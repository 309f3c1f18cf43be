package pvesim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"labd/internal/pve"
)

// fileMounted is the default of Config.Mounted.
func (s *Server) fileMounted(path string) bool {
	var dir, parent syscall.Stat_t
	p := s.path(path)
	return syscall.Stat(p, &dir) == nil && syscall.Stat(filepath.Dir(p), &parent) == nil && dir.Dev != parent.Dev
}

// activate is what PVE does before it uses a storage, with PVE's errors. Servers
// do not answer and volume groups do not exist here. Like PVE it makes the
// directory of a storage that need not be a mount point.
func (s *Server) activate(st *pve.StorageSection) error {
	switch st.Type {
	case "dir", "btrfs":
		if mp := st.MountPoint(); mp != "" {
			if !s.cfg.Mounted(mp) {
				return fmt.Errorf("unable to activate storage '%s' - directory is expected to be a mount point but is not mounted: '%s'",
					st.ID, mp)
			}
		} else if st.Get("create-base-path") != "0" && st.Get("mkdir") != "0" {
			if err := os.MkdirAll(s.path(st.Path()), 0o755); err != nil {
				return err
			}
		}
		if info, err := os.Stat(s.path(st.Path())); err != nil || !info.IsDir() {
			return fmt.Errorf("unable to activate storage '%s' - directory '%s' does not exist or is unreachable",
				st.ID, st.Path())
		}
		return nil
	case "lvm":
		return nil // the absence of a volume group goes unnoticed
	case "lvmthin":
		return fmt.Errorf("no such logical volume %s/%s", st.Get("vgname"), st.Get("thinpool"))
	case "zfspool":
		return fmt.Errorf("could not activate storage '%s', zfs error: cannot import '%s': no such pool available",
			st.ID, st.Get("pool"))
	case "pbs":
		return fmt.Errorf("%s: error fetching datastores - 500 Can't connect to %s:8007 (Connection refused)",
			st.ID, st.Get("server"))
	}
	return fmt.Errorf("storage '%s' is not online", st.ID)
}

// nodeRow is the state of an entry on this node. Asking activates it.
func (s *Server) nodeRow(st *pve.StorageSection) map[string]any {
	row := map[string]any{
		"type": st.Type, "content": st.Get("content"), "shared": number(st.Shared()),
		"enabled": 0, "active": 0, "total": 0, "used": 0, "avail": 0,
	}
	if st.Disabled() || !st.OnNode(s.cfg.Node) {
		return row
	}
	row["enabled"] = 1
	var f syscall.Statfs_t
	if st.Type == "lvm" || s.activate(st) != nil || syscall.Statfs(s.path(st.Path()), &f) != nil {
		return row
	}
	size := uint64(f.Bsize)
	row["active"], row["total"], row["avail"], row["used"] = 1, f.Blocks*size, f.Bavail*size, (f.Blocks-f.Bfree)*size
	return row
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// allStorages returns every entry, or the error with which PVE trips over a
// malformed one.
func (s *Server) allStorages() (*pve.StorageConfig, error) {
	cfg, err := s.storageConfig()
	if err != nil {
		return nil, err
	}
	for _, st := range cfg.Sections {
		if _, err := cfg.Lookup(st.ID); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}

func (s *Server) getNodeStorages(c *call) (any, error) {
	cfg, err := s.allStorages()
	if err != nil {
		return nil, err
	}
	only, filter := c.params["storage"]
	if _, err := cfg.Lookup(only); filter && err != nil {
		return nil, badParam("storage", "No such storage.")
	}
	rows := []map[string]any{}
	for _, st := range cfg.Sections {
		if !c.who.may("/storage/"+st.ID, "Datastore.Audit", "Datastore.AllocateSpace") || filter && st.ID != only ||
			c.bool("enabled") && st.Disabled() {
			continue
		}
		if want := items(c.params["content"]); len(want) > 0 && !slices.ContainsFunc(want, func(t string) bool {
			return slices.Contains(st.Content(), t)
		}) {
			continue
		}
		row := s.nodeRow(st)
		// With a filter by content PVE leaves out what is not enabled here.
		if c.params["content"] != "" && row["enabled"] == 0 {
			continue
		}
		row["storage"] = st.ID
		if total, ok := row["total"].(uint64); ok && total > 0 {
			row["used_fraction"] = float64(row["used"].(uint64)) / float64(total)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (s *Server) getNodeStorageIndex(c *call) (any, error) {
	if _, err := storageParam(c); err != nil {
		return nil, err
	}
	var rows []map[string]string
	for _, name := range []string{
		"content", "download-url", "file-restore", "import-metadata", "identity", "oci-registry-pull", "prunebackups",
		"rrd", "rrddata", "status", "upload",
	} {
		rows = append(rows, map[string]string{"subdir": name})
	}
	return rows, nil
}

func (s *Server) getNodeStorageStatus(c *call) (any, error) {
	if err := c.check("/storage/"+c.args["storage"], "Datastore.Audit", "Datastore.AllocateSpace"); err != nil {
		return nil, err
	}
	id, err := storageParam(c)
	if err != nil {
		return nil, err
	}
	cfg, err := s.allStorages()
	if err != nil {
		return nil, err
	}
	st := cfg.Section(id)
	if st == nil {
		return nil, badParam("storage", "No such storage.")
	}
	return s.nodeRow(st), nil
}

func (s *Server) getNodeStorageContent(c *call) (any, error) {
	if err := c.check("/storage/"+c.args["storage"], "Datastore.Audit", "Datastore.AllocateSpace"); err != nil {
		return nil, err
	}
	id, err := storageParam(c)
	if err != nil {
		return nil, err
	}
	cfg, err := s.storageConfig()
	if err != nil {
		return nil, err
	}
	st, err := cfg.Lookup(id)
	switch {
	case err != nil:
		return nil, err
	case st.Disabled():
		return nil, fmt.Errorf("storage '%s' is disabled", id)
	case !st.OnNode(s.cfg.Node):
		return nil, fmt.Errorf("storage '%s' is not available on node '%s'", id, s.cfg.Node)
	}
	if err := s.activate(st); err != nil {
		return nil, err
	}
	if st.Type != "dir" && st.Type != "lvm" && st.Type != "btrfs" {
		return nil, errors.New("listing volumes of this type is not simulated")
	}
	// Volumes are not listed: a simulated storage holds none.
	return []any{}, nil
}
