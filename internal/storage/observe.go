package storage

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"labd/internal/host"
	"labd/internal/pve"
)

// Observer looks at the storages of this node.
type Observer struct {
	host   *host.Host
	node   string
	memory *Memory
	now    func() time.Time
}

// NewObserver returns an Observer for the node of that name in PVE.
func NewObserver(h *host.Host, node string, memory *Memory, now func() time.Time) *Observer {
	return &Observer{host: h, node: node, memory: memory, now: now}
}

// Observe reads storage.cfg, the cluster's files, the mount table, unit files and device links. It makes no call to
// PVE, since PVE's own status call activates storages.
func (o *Observer) Observe(ctx context.Context) (*Facts, error) {
	f := &Facts{At: o.now(), Node: o.node, Sources: map[string]Source{}, Devices: map[string]Device{}, Directories: map[string]Directory{}, References: map[string][]pve.Reference{}}
	reader := o.host.NewReader(0)
	defer reader.Close()
	fsys := pve.DirFS(o.host.PVE)
	f.Cluster, f.ClusterErr = pve.ReadCluster(fsys)
	f.Config, f.ConfigErr = o.readConfig(reader)
	f.Mounts, f.MountsErr = o.host.Mounts(ctx)
	f.GoneSince = o.memory.Gone()
	if f.Config != nil && f.ClusterErr == nil && !f.Cluster.Mounted && o.host.PVE != host.DefaultPaths().PVE {
		// A copy of /etc/pve elsewhere has its files and not the link that pmxcfs makes.
		f.Cluster.Mounted, f.Cluster.Quorate = true, true
	}
	if f.Config == nil {
		return f, nil
	}
	fstab := readFstab(reader, filepath.Join(o.host.Etc, "fstab"))
	needReferences := false
	for _, s := range f.Config.Sections {
		if s.Malformed != "" || s.Type != "dir" || s.Path() == "" || !s.OnNode(o.node) {
			continue
		}
		point := mountPoint(s)
		if source, ok := findSource(reader, o.host.Etc, fstab, point); ok {
			f.Sources[point] = source
			f.Devices[source.What] = findDevice(reader, o.host.Dev, source.What)
			needReferences = needReferences || f.Devices[source.What] == DeviceGone
		}
		if m, ok := mountOf(f.Mounts, s.Path()); f.MountsErr == nil && (!ok || !isNetworkFS(m.Type)) {
			f.Directories[s.Path()] = readDirectory(reader, s.Path())
		}
	}
	if needReferences {
		o.readReferences(f, fsys, reader)
	}
	return f, nil
}

// mountPoint is the directory that should be a mount point for a dir storage: the one PVE insists on, else its path.
func mountPoint(s *pve.StorageSection) string {
	if point := s.MountPoint(); point != "" {
		return point
	}
	return s.Path()
}

var errNoConfig = errors.New("storage.cfg is missing or empty: the cluster file system is down, or nothing was ever configured")

func (o *Observer) readConfig(reader *host.Reader) (*pve.StorageConfig, error) {
	data, err := reader.File(filepath.Join(o.host.PVE, "storage.cfg"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(data)) == 0 {
		return nil, errNoConfig
	}
	if err != nil {
		return nil, fmt.Errorf("read storage.cfg: %w", err)
	}
	return pve.ParseStorageConfig(data, pve.StorageConfigOptions{}), nil
}

func (o *Observer) readReferences(f *Facts, fsys pve.FS, reader *host.Reader) {
	users, err := reader.File(filepath.Join(o.host.PVE, "user.cfg"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.UsersErr = fmt.Errorf("read user.cfg: %w", err)
	}
	f.Users = pve.ParseUserConfig(users)
	all, err := pve.ReadReferences(fsys)
	if err != nil {
		f.ReferencesErr = fmt.Errorf("look for references: %w", err)
		return
	}
	vzdump, err := reader.File(filepath.Join(o.host.Etc, "vzdump.conf"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.ReferencesErr = fmt.Errorf("look for references: %w", err)
	}
	for _, s := range f.Config.Sections {
		f.References[s.ID] = append(all.Of(s.ID, s.Path()), pve.VzdumpReferences(vzdump, s.ID, s.Path())...)
	}
}

// findSource looks for what should be mounted at a point: in a unit file below /etc, which wins over fstab
// (systemd.unit(5), unit load path), else in fstab.
func findSource(reader *host.Reader, etc string, fstab []fstabLine, point string) (Source, bool) {
	unit := host.MountUnitName(point)
	file := filepath.Join(etc, "systemd/system", unit)
	if data, err := reader.File(file); err == nil {
		parsed := host.ParseUnit(data)
		if what := parsed.Value("Mount", "What"); what != "" && filepath.Clean(parsed.Value("Mount", "Where")) == filepath.Clean(point) {
			return Source{What: what, Unit: unit, File: file, Wants: findWants(reader, etc, unit)}, true
		}
	}
	for _, line := range fstab {
		if filepath.Clean(line.point) == filepath.Clean(point) {
			return Source{What: line.what, Unit: unit, File: filepath.Join(etc, "fstab"), InFstab: true}, true
		}
	}
	return Source{}, false
}

// findWants lists the links that enable a unit, in the .wants and .requires directories below /etc.
func findWants(reader *host.Reader, etc, unit string) []string {
	base := filepath.Join(etc, "systemd/system")
	names, err := reader.Names(base)
	if err != nil {
		return nil
	}
	var links []string
	for _, name := range names {
		if !strings.HasSuffix(name, ".wants") && !strings.HasSuffix(name, ".requires") {
			continue
		}
		link := filepath.Join(base, name, unit)
		if _, err := reader.Link(link); err == nil {
			links = append(links, link)
		}
	}
	return links
}

// findDevice tells whether a device is there. It is gone only when the directory it should be in can be read and lacks
// it: a missing /dev/disk/by-uuid says nothing about a disk.
func findDevice(reader *host.Reader, dev, what string) Device {
	file := devicePath(dev, what)
	if file == "" {
		return DeviceUnknown
	}
	if _, err := reader.Stat(file); err == nil {
		return DevicePresent
	} else if !errors.Is(err, fs.ErrNotExist) {
		return DeviceUnknown
	}
	if _, err := reader.Names(filepath.Dir(file)); err != nil {
		return DeviceUnknown
	}
	return DeviceGone
}

// maxEntries is the most that is counted in a directory.
const maxEntries = 1000

func readDirectory(reader *host.Reader, path string) Directory {
	names, err := reader.Names(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Directory{}
	}
	if err != nil {
		return Directory{Err: err}
	}
	return Directory{Exists: true, Entries: min(len(names), maxEntries)}
}

type fstabLine struct{ what, point string }

// readFstab reads the first two fields of each line (fstab(5)), with \040 and the like resolved.
func readFstab(reader *host.Reader, file string) []fstabLine {
	data, err := reader.File(file)
	if err != nil {
		return nil
	}
	return parseFstab(data)
}

func parseFstab(data []byte) []fstabLine {
	var lines []fstabLine
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, len(data)+1)
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		lines = append(lines, fstabLine{what: unescape.Replace(fields[0]), point: unescape.Replace(fields[1])})
	}
	return lines
}
