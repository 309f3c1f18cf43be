package pvesim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"labd/internal/pve"
)

const unitDir = "/etc/systemd/system"

// unitName is the name of the mount unit that PVE makes for a directory.
// Source: PVE::Systemd::escape_unit.
func unitName(name string) string {
	return "mnt-pve-" + strings.ReplaceAll(name, "-", `\x2d`) + ".mount"
}

// unitSetting returns a setting of a unit file's text.
func unitSetting(text, key string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// getDirectories lists mount units below /mnt/pve; it never looks at devices.
func (s *Server) getDirectories(c *call) (any, error) {
	if err := c.check("/", "Sys.Audit"); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(s.path(unitDir, "mnt-pve-*.mount"))
	if err != nil {
		return nil, err
	}
	rows := []map[string]any{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		text := string(data)
		if where := unitSetting(text, "Where"); strings.HasPrefix(where, "/mnt/pve/") {
			rows = append(rows, map[string]any{
				"unitfile": unitDir + "/" + filepath.Base(f), "path": where, "device": unitSetting(text, "What"),
				"type": unitSetting(text, "Type"), "options": unitSetting(text, "Options"),
			})
		}
	}
	return rows, nil
}

// deleteDirectory is the panel's "Destroy". It answers with a task; what goes
// wrong is in the task. Source: PVE::API2::Disks::Directory.
func (s *Server) deleteDirectory(c *call) (any, error) {
	if err := c.check("/", "Sys.Modify"); err != nil {
		return nil, err
	}
	name := c.args["name"]
	if err := pve.CheckStorageID(name); err != nil {
		return nil, badParam("name", "invalid format - "+err.Error()+"\n")
	}
	disks, config := c.bool("cleanup-disks"), c.bool("cleanup-config")
	if config {
		if err := c.check("/storage", "Datastore.Allocate"); err != nil {
			return nil, err
		}
	}
	return s.runTask(c.who.id, "dirremove", name, func(log func(string)) error {
		return s.removeDirectory(name, disks, config, log)
	}), nil
}

func (s *Server) removeDirectory(name string, disks, config bool, log func(string)) error {
	unit := unitName(name)
	file := unitDir + "/" + unit
	var what string
	if disks {
		data, err := os.ReadFile(s.path(file))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("can't open '%s' - No such file or directory", file)
		} else if err != nil {
			return err
		}
		what = unitSetting(string(data), "What")
		if err := s.checkDevice(what); err != nil {
			return err
		}
	}
	for _, verb := range []string{"stop", "disable"} {
		out, err := s.cfg.Systemctl(s.ctx, verb, unit)
		for line := range strings.Lines(string(out)) {
			log(strings.TrimRight(line, "\n"))
		}
		if err != nil {
			return fmt.Errorf("command 'systemctl %s %s' failed: exit code %d", verb, unit, exitCode(err))
		}
	}
	if err := os.Remove(s.path(file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var configErr error
	if config {
		if err := s.cleanupStorages("/mnt/pve/"+name, log); err != nil {
			log(err.Error())
			configErr = fmt.Errorf("config cleanup failed - %w", err)
		}
	}
	if disks {
		// The device itself is left alone.
		log("wiping block device " + what)
	}
	return configErr
}

func exitCode(err error) int {
	var e interface{ ExitCode() int }
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return 1
}

// cleanupStorages takes this node off the entries with that path, or removes
// them. Nodes that are no members count as left: a zombie entry stays.
// Source: PVE::API2::Storage::Config::cleanup_storages_for_node.
func (s *Server) cleanupStorages(path string, log func(string)) error {
	cfg, err := s.storageConfig()
	if err != nil {
		return err
	}
	cluster, err := pve.ReadCluster(pve.DirFS(s.path("etc/pve")))
	if err != nil {
		return err
	}
	for _, st := range cfg.Sections {
		if st.Type != "dir" || st.Path() != path {
			continue
		}
		nodes := slices.Clone(st.Nodes())
		if nodes == nil {
			for _, m := range cluster.Members {
				nodes = append(nodes, m.Name)
			}
		}
		nodes = slices.DeleteFunc(nodes, func(n string) bool { return n == s.cfg.Node })
		if len(nodes) == 0 {
			err = s.removeStorage(st.ID, log)
		} else {
			err = s.locked(storageLock, log, func() error {
				cfg, err := s.storageConfig()
				if err != nil {
					return err
				}
				if err := cfg.Update(st.ID, map[string]string{"nodes": strings.Join(nodes, ",")}, nil); err != nil {
					return err
				}
				return s.writeStorages(cfg)
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkDevice finds fault with a device in PVE's words.
// Source: PVE::Diskmanage::verify_blockdev_path.
func (s *Server) checkDevice(path string) error {
	if _, err := os.Stat(s.path(filepath.Dir(path))); err != nil {
		return fmt.Errorf("failed to get absolute path to %s", path)
	}
	if !strings.HasPrefix(path, "/dev/") {
		return fmt.Errorf("got unusual device path '%s'", path)
	}
	if s.cfg.IsBlockDevice(path) != nil {
		return errors.New("not a valid block device")
	}
	return nil
}

// fileIsBlockDevice is the default of Config.IsBlockDevice.
func (s *Server) fileIsBlockDevice(path string) error {
	info, err := os.Stat(s.path(path))
	if err == nil && (info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0) {
		err = fmt.Errorf("%s is no block device", path)
	}
	return err
}

// systemctlError is a failed command of the default Systemctl.
type systemctlError int

func (e systemctlError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
func (e systemctlError) ExitCode() int { return int(e) }

// fileSystemctl is the default of Config.Systemctl: "stop" and "disable" on the
// unit files and links below the root.
func (s *Server) fileSystemctl(_ context.Context, args ...string) ([]byte, error) {
	if len(args) != 2 {
		return nil, systemctlError(1)
	}
	verb, unit := args[0], args[1]
	if _, err := os.Stat(s.path(unitDir, unit)); err != nil {
		return fmt.Appendf(nil, "Failed to %s %s: Unit %s not loaded.\n", verb, unit, unit), systemctlError(5)
	}
	link := unitDir + "/multi-user.target.wants/" + unit
	if verb == "disable" && os.Remove(s.path(link)) == nil {
		return fmt.Appendf(nil, "Removed \"%s\".\n", link), nil
	}
	return nil, nil
}
