package storage

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
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
		o.findSources(f, reader, fstab, s)
		point, source, ok := f.sourceOf(s)
		if ok {
			f.Devices[source.What] = findSourceDevice(reader, o.host.Paths, source.What)
			needReferences = needReferences || f.Devices[source.What] == DeviceGone
		}
		if m, ok := mountedAt(f.Mounts, point); ok && devicePath(o.host.Dev, m.Source) != "" {
			f.Devices[m.Source] = findDevice(reader, o.host.Dev, m.Source)
		}
		for _, dir := range []string{s.Path(), point} {
			if m, ok := mountOf(f.Mounts, dir); f.MountsErr == nil && (!ok || !isNetworkFS(m.Type)) {
				f.Directories[dir] = readDirectory(reader, dir)
			}
		}
	}
	if needReferences {
		o.readReferences(f, fsys, reader)
	}
	return f, nil
}

// findSources looks for what should be mounted where PVE insists on a mount point, else at the storage's path and above.
func (o *Observer) findSources(f *Facts, reader *host.Reader, fstab []fstabLine, s *pve.StorageSection) {
	points := upwards(s.Path())
	if point := s.MountPoint(); point != "" {
		points = slices.Values([]string{filepath.Clean(point)})
	}
	for point := range points {
		if _, known := f.Sources[point]; known {
			return
		}
		if source, ok := findSource(reader, o.host.Etc, fstab, point); ok {
			f.Sources[point] = source
			return
		}
	}
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
		dir := s.Path()
		if point := s.MountPoint(); point != "" && isBelow(dir, point) {
			dir = point // the whole file system goes away with its unit
		}
		f.References[s.ID] = append(all.Of(s.ID, dir), pve.VzdumpReferences(vzdump, s.ID, dir)...)
	}
}

// findSource looks for what should be mounted at a point: in a unit file below /etc with its drop-ins, which wins over
// fstab (systemd.unit(5), unit load path), else in fstab.
func findSource(reader *host.Reader, etc string, fstab []fstabLine, point string) (Source, bool) {
	unit := host.MountUnitName(point)
	line, inFstab := fstabLine{}, false
	for _, l := range fstab {
		if filepath.Clean(l.point) == point {
			line, inFstab = l, true
		}
	}
	file := filepath.Join(etc, "systemd/system", unit)
	if data, err := reader.File(file); err == nil {
		parsed := host.ParseUnit(data)
		if what := parsed.Value("Mount", "What"); what != "" && filepath.Clean(parsed.Value("Mount", "Where")) == point {
			if changed := dropInWhat(reader, file+".d"); changed != "" {
				what = changed
			}
			return Source{What: what, Point: point, Unit: unit, File: file, InFstab: inFstab, Wants: findWants(reader, etc, unit)}, true
		}
	}
	if !inFstab {
		return Source{}, false
	}
	return Source{What: line.what, Point: point, Unit: unit, File: filepath.Join(etc, "fstab"), InFstab: true}, true
}

// dropInWhat is what the drop-ins of a unit put in the place of its device, or "". They apply in the order of their
// names (systemd.unit(5)).
func dropInWhat(reader *host.Reader, dir string) (what string) {
	names, err := reader.Names(dir)
	if err != nil {
		return ""
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".conf") {
			continue
		}
		if data, err := reader.File(filepath.Join(dir, name)); err == nil {
			if v := host.ParseUnit(data).Value("Mount", "What"); v != "" {
				what = v
			}
		}
	}
	return what
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
