package storage

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"labd/internal/host"
	"labd/internal/pve"
)

// sources finds what should be mounted where. It reads directories once, as there may be a thousand storages.
type sources struct {
	reader *host.Reader
	dir    string // of unit files: /etc/systemd/system
	fstab  string
	lines  []fstabLine
	// units are the unit files and their drop-in directories; links are the links that enable a unit.
	units map[string]bool
	links map[string][]string
	read  map[string]Source // of units, as they were read
}

// newSources reads fstab and the names of unit files.
func newSources(reader *host.Reader, etc string) *sources {
	s := &sources{
		reader: reader, dir: filepath.Join(etc, "systemd/system"), fstab: filepath.Join(etc, "fstab"),
		units: map[string]bool{}, links: map[string][]string{}, read: map[string]Source{},
	}
	if data, err := reader.File(s.fstab); err == nil {
		s.lines = parseFstab(data)
	}
	names, err := reader.Names(s.dir)
	if err != nil {
		return s
	}
	for _, name := range names {
		s.units[name] = true
		if !strings.HasSuffix(name, ".wants") && !strings.HasSuffix(name, ".requires") {
			continue
		}
		enabled, err := reader.Names(filepath.Join(s.dir, name))
		if err != nil {
			continue
		}
		for _, unit := range enabled {
			link := filepath.Join(s.dir, name, unit)
			if _, err := reader.Link(link); err == nil {
				s.links[unit] = append(s.links[unit], link)
			}
		}
	}
	return s
}

// add looks for what should be mounted where PVE insists on a mount point, else at the storage's path and above.
func (s *sources) add(into map[string]Source, entry *pve.StorageSection) {
	points := upwards(entry.Path())
	if point := entry.MountPoint(); point != "" {
		points = slices.Values([]string{filepath.Clean(point)})
	}
	for point := range points {
		if _, known := into[point]; known {
			return
		}
		if source, ok := s.at(point); ok {
			into[point] = source
			return
		}
	}
}

// at finds what should be mounted at a point: in a unit file below /etc with its drop-ins, which wins over fstab
// (systemd.unit(5), unit load path), else in fstab.
func (s *sources) at(point string) (Source, bool) {
	unit := host.MountUnitName(point)
	out := Source{Point: point, Unit: unit, File: s.fstab}
	for _, l := range s.lines {
		switch {
		case filepath.Clean(l.point) != point || l.fsType == "swap":
		case out.InFstab: // systemd's generator takes the first line of a point (systemd-fstab-generator)
			out.Twice = out.Twice || l.what != out.FstabWhat
		default:
			out.InFstab, out.Line, out.FstabWhat = true, l.text, l.what
			out.What, out.Type, out.Options = l.what, l.fsType, l.options
		}
	}
	if s.units[unit] {
		if own, ok := s.unit(unit); ok && own.Point == point {
			own.InFstab, own.Line, own.FstabWhat, own.Twice = out.InFstab, out.Line, out.FstabWhat, out.Twice
			return own, true
		}
	}
	return out, out.InFstab
}

// unit reads a mount unit's file, once.
func (s *sources) unit(name string) (Source, bool) {
	out, known := s.read[name]
	if !known {
		out = s.parseUnit(name)
		s.read[name] = out
	}
	return out, out.What != "" && filepath.IsAbs(out.Point)
}

func (s *sources) parseUnit(name string) Source {
	file := filepath.Join(s.dir, name)
	data, err := s.reader.File(file)
	if err != nil {
		return Source{}
	}
	parsed := host.ParseUnit(data)
	value := func(key string) string {
		if s.units[name+".d"] {
			if changed := s.dropIn(file+".d", key); changed != "" {
				return changed
			}
		}
		return parsed.Value("Mount", key)
	}
	where := filepath.Clean(parsed.Value("Mount", "Where"))
	var needs []string
	for _, key := range []string{"Requires", "BindsTo", "Wants", "After", "Requisite"} {
		needs = append(needs, strings.Fields(strings.Join(parsed["Unit"][key], " "))...)
	}
	return Source{Needs: needs, What: value("What"), Point: where, Unit: name, File: file, Type: value("Type"), Options: value("Options"), Wants: s.links[name]}
}

// dropIn is what the drop-ins of a unit put in the place of a value, or "". They apply in the order of their names
// (systemd.unit(5)).
func (s *sources) dropIn(dir, key string) (value string) {
	names, err := s.reader.Names(dir)
	if err != nil {
		return ""
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".conf") {
			continue
		}
		if data, err := s.reader.File(filepath.Join(dir, name)); err == nil {
			if v := host.ParseUnit(data).Value("Mount", key); v != "" {
				value = v
			}
		}
	}
	return value
}

// panelDir is where PVE's panel mounts the disks that it makes storages of.
const panelDir = "/mnt/pve"

// panelMounts are the mount points of units and lines of fstab directly below PVE's own directory.
func (s *sources) panelMounts() map[string]bool {
	out := map[string]bool{}
	for name := range s.units {
		if strings.HasPrefix(name, "mnt-pve-") && strings.HasSuffix(name, ".mount") {
			if source, ok := s.unit(name); ok && filepath.Dir(source.Point) == panelDir {
				out[source.Point] = true
			}
		}
	}
	for _, l := range s.lines {
		if point := filepath.Clean(l.point); filepath.Dir(point) == panelDir {
			out[point] = true
		}
	}
	return out
}

// blockingMounts are the mount points of lines of fstab and of units that a boot cannot do without.
func (s *sources) blockingMounts() map[string]bool {
	out := map[string]bool{}
	for _, l := range s.lines {
		if point := filepath.Clean(l.point); filepath.IsAbs(point) && l.fsType != "swap" {
			if source, ok := s.at(point); ok && source.endsBoot() {
				out[point] = true
			}
		}
	}
	for name := range s.units {
		if strings.HasSuffix(name, ".mount") {
			if source, ok := s.unit(name); ok && source.endsBoot() {
				out[source.Point] = true
			}
		}
	}
	return out
}

// stray are the mounts of these points that no entry of this node has its path at, above or below. What an
// entry means that PVE rejects or does not know cannot be told, so its name counts as well.
func (s *sources) stray(config *pve.StorageConfig, node string, points map[string]bool) []Source {
	paths, above := map[string]bool{}, map[string]bool{}
	use := func(p string) {
		if p == "" {
			return
		}
		paths[filepath.Clean(p)] = true
		for dir := range upwards(p) {
			above[dir] = true
		}
	}
	for _, e := range config.Sections {
		if e.Malformed != "" {
			use(panelDir + "/" + e.ID)
		}
		if e.Malformed != "" || e.OnNode(node) {
			use(e.Path())
			use(e.MountPoint())
		}
	}
	for _, e := range config.Skipped {
		use(panelDir + "/" + e.ID)
		for _, p := range e.Properties {
			if p.Key == "path" {
				use(p.Value)
			}
		}
	}
	var out []Source
	for point := range points {
		used := above[point]
		for dir := range upwards(point) {
			used = used || paths[dir]
		}
		if source, ok := s.at(point); ok && !used {
			out = append(out, source)
		}
	}
	slices.SortFunc(out, func(a, b Source) int { return strings.Compare(a.Point, b.Point) })
	return out
}

// usesPoint tells whether an entry's path or mount point lies at, above or below a point. An entry that PVE rejects may
// mean it by its name.
func usesPoint(e *pve.StorageSection, point string) bool {
	if e.Malformed != "" && panelDir+"/"+e.ID == point {
		return true
	}
	for _, p := range []string{e.Path(), e.MountPoint()} {
		if p != "" && (isBelow(p, point) || isBelow(point, p)) {
			return true
		}
	}
	return false
}

// importers are the enabled units that import a pool at boot, by unit name; PVE's panel makes one for each pool.
func (s *sources) importers() map[string][]string {
	out := map[string][]string{}
	for unit, links := range s.links {
		if strings.HasPrefix(unit, "zfs-import@") {
			out[unit] = links
		}
	}
	return out
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
