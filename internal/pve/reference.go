package pve

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Grade says what a reference means for the removal of the storage.
type Grade string

const (
	// Block: removing the storage would cut a guest or another storage off
	// from its data, or nothing but a person can mend the reference.
	Block Grade = "block"
	// Fixable: the reference can be taken away through PVE's API without loss.
	Fixable Grade = "fixable"
)

// Reference is one place in PVE's files that names a storage.
type Reference struct {
	File    string // below /etc/pve; "/etc/vzdump.conf" for that file
	Section string // snapshot or pending section, job, storage; "" in a live guest
	Key     string
	Value   string // the whole value
	Line    int    // counted from 1
	Grade   Grade
	Reason  string // what is at stake, in a few words
	Lock    string // the guest's lock ("backup", "migrate"); while there is one, wait
}

// ReferenceIndex holds all references to storages found in one reading, so that
// many storages can be asked about. Paths are matched as well, because bind
// mounts, nested directories and mappings name no storage ID.
type ReferenceIndex struct {
	byID  map[string][]Reference
	paths []pathReference
	pools []poolEntry
}

// poolEntry is a zfspool entry of storage.cfg with its pool or dataset.
type poolEntry struct {
	ref           Reference
	storage, pool string
}

// pathReference is a value that holds absolute paths.
type pathReference struct {
	ref   Reference
	paths []string
	// storage is the ID of the entry in storage.cfg that has the path.
	storage string
}

// ReadReferences reads everything below /etc/pve that can name a storage: the
// guests of all nodes (live, pending, snapshots, special sections), jobs.cfg,
// vzdump.cron, storage.cfg (base, nested paths and datasets),
// mapping/directory.cfg. With an
// error the index is incomplete, and no storage may be called unreferenced.
//
// Not looked at: user.cfg (ACLs and pools, which PVE cleans itself on removal);
// replication.cfg and ha/, which name guests only, so that the guest's volumes
// stand for them; jobs on a backup server; files outside /etc/pve
// (vzdump.conf: see VzdumpReferences).
func ReadReferences(fsys FS) (*ReferenceIndex, error) {
	x := &ReferenceIndex{byID: map[string][]Reference{}}
	guests, err := ReadGuests(fsys)
	problems := []error{err}
	for i := range guests {
		x.addGuest(&guests[i])
	}
	for _, f := range []struct {
		name string
		add  func(file string, data []byte)
	}{
		{"jobs.cfg", x.addJobs},
		{"vzdump.cron", x.addCron},
		{"storage.cfg", x.addStorages},
		{"mapping/directory.cfg", x.addMappings},
	} {
		data, err := fsys.ReadFile(f.name)
		if err == nil {
			f.add(f.name, data)
		} else if !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("read references: %w", err))
		}
	}
	return x, errors.Join(problems...)
}

// VzdumpReferences returns the references in a node's /etc/vzdump.conf.
// Source: PVE::VZDump, read_vzdump_defaults.
func VzdumpReferences(data []byte, storageID, path string) []Reference {
	x := &ReferenceIndex{byID: map[string][]Reference{}}
	for _, p := range ParseVzdumpConfig(data).Properties {
		x.addJobProperty(Reference{File: "/etc/vzdump.conf", Key: p.Key, Value: p.Value, Line: p.Line})
	}
	return x.Of(storageID, path)
}

// Of returns the references to a storage by its ID, and by its path if that is
// not empty, in a stable order.
func (x *ReferenceIndex) Of(storageID, path string) []Reference {
	out := slices.Clone(x.byID[storageID])
	path = strings.TrimRight(path, "/")
	for _, p := range x.paths {
		if path != "" && p.storage != storageID &&
			slices.ContainsFunc(p.paths, func(s string) bool { return below(s, path) }) {
			out = append(out, p.ref)
		}
	}
	for _, own := range x.pools {
		for _, p := range x.pools {
			if own.storage == storageID && p.storage != storageID && below(p.pool, own.pool) {
				out = append(out, p.ref)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Reference) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	return slices.Compact(out)
}

// below reports whether p is dir or lies below it.
func below(p, dir string) bool {
	rest, ok := strings.CutPrefix(p, dir)
	return ok && (rest == "" || rest[0] == '/')
}

func (x *ReferenceIndex) add(id string, r Reference) { x.byID[id] = append(x.byID[id], r) }

// addPaths notes the absolute paths in a value.
func (x *ReferenceIndex) addPaths(r Reference, storage string) {
	var paths []string
	for _, word := range strings.FieldsFunc(r.Value, func(c rune) bool {
		return c == ',' || c == '=' || c == ' ' || c == '\t' || c == '"' || c == '\''
	}) {
		if strings.HasPrefix(word, "/") {
			paths = append(paths, canonicalPath(word))
		}
	}
	if paths != nil {
		x.paths = append(x.paths, pathReference{ref: r, paths: paths, storage: storage})
	}
}

func (x *ReferenceIndex) addGuest(g *Guest) {
	lock, _ := g.Config.Live().Get("lock")
	for i := range g.Config.Sections {
		s := &g.Config.Sections[i]
		for _, p := range s.Properties {
			x.addGuestProperty(s, Reference{
				File: g.File, Section: s.Name, Key: p.Key, Value: p.Value, Line: p.Line, Lock: lock,
			})
		}
	}
}

func (x *ReferenceIndex) addGuestProperty(s *GuestSection, r Reference) {
	name := strings.TrimRight(r.Key, "0123456789")
	switch name {
	case "net", "usb", "hostpci", "ipconfig", "name", "hostname", "description", "tags", "smbios", "sshkeys",
		"env", "entrypoint":
		return // hold colons, never a volume
	}
	r.Grade, r.Reason = guestGrade(s, name, r.Value)
	if name == "vmstatestorage" {
		x.add(r.Value, r)
		return
	}
	for item := range strings.SplitSeq(r.Value, ",") {
		item = trimSpace(item)
		if _, value, ok := strings.Cut(item, "="); ok {
			item = value
		}
		if id, ok := VolumeStorage(item); ok {
			x.add(id, r)
		}
	}
	if strings.Contains(r.Value, "/") {
		r.Grade, r.Reason = Block, "uses the storage's directory"
		x.addPaths(r, "")
	}
}

// guestGrade grades a value of a guest that holds a volume.
func guestGrade(s *GuestSection, name, value string) (Grade, string) {
	if s.Kind == SnapshotSection {
		// PVE's API cannot change a snapshot.
		return Block, "volume of a snapshot"
	}
	switch name {
	case "unused":
		return Fixable, "unused volume"
	case "hookscript", "cicustom":
		return Fixable, "snippet"
	case "vmstatestorage":
		return Fixable, "place for the state of suspended machines"
	case "vmstate":
		return Block, "saved state"
	case "fleecing-images":
		return Block, "image left by a failed backup"
	}
	volume, _, _ := strings.Cut(value, ",")
	if _, name, ok := strings.Cut(volume, ":"); ok && strings.HasPrefix(name, "iso/") &&
		slices.Contains(strings.Split(value, ","), "media=cdrom") {
		return Fixable, "CD image"
	}
	return Block, "attached volume"
}

func (x *ReferenceIndex) addJobs(file string, data []byte) {
	for _, j := range ParseJobs(data) {
		for _, p := range j.Section.Properties {
			x.addJobProperty(Reference{File: file, Section: j.ID, Key: p.Key, Value: p.Value, Line: p.Line})
		}
	}
}

// addJobProperty looks at one setting of a backup job.
func (x *ReferenceIndex) addJobProperty(r Reference) {
	r.Grade, r.Reason = Fixable, "backup job"
	switch r.Key {
	case "storage":
		x.add(r.Value, r)
	case "fleecing":
		if id := fleecingStorage(r.Value); id != "" {
			x.add(id, r)
		}
	case "dumpdir", "tmpdir", "script":
		x.addPaths(r, "")
	}
}

// addCron reads the jobs of PVE before 7.1: "M H D M W root vzdump OPTIONS".
func (x *ReferenceIndex) addCron(file string, data []byte) {
	number := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		number++
		words := perlFields(line)
		if !slices.Contains(words, "vzdump") && !strings.HasPrefix(line, "#vzdump") {
			continue
		}
		for i, w := range words {
			key, value, joined := strings.Cut(strings.TrimLeft(w, "-"), "=")
			if !strings.HasPrefix(w, "-") {
				continue
			}
			if !joined && i+1 < len(words) {
				value = words[i+1]
			}
			x.addJobProperty(Reference{File: file, Key: key, Value: value, Line: number})
		}
	}
}

func (x *ReferenceIndex) addStorages(file string, data []byte) {
	for _, s := range ParseSections(data) {
		for _, p := range s.Properties {
			r := Reference{File: file, Section: s.ID, Key: p.Key, Value: p.Value, Line: p.Line, Grade: Block}
			switch p.Key {
			case "base":
				r.Reason = "base of another storage"
				if id, ok := VolumeStorage(p.Value); ok {
					x.add(id, r)
				}
			case "path":
				r.Reason = "storage inside this one"
				x.addPaths(r, s.ID)
			case "pool":
				if asciiLower(s.Type) == "zfspool" {
					r.Reason = "dataset inside this one, or the same"
					x.pools = append(x.pools, poolEntry{ref: r, storage: s.ID, pool: p.Value})
				}
			}
		}
	}
}

// addMappings reads virtiofs mappings, "map node=pve1,path=/mnt/pve/usb1".
func (x *ReferenceIndex) addMappings(file string, data []byte) {
	for _, m := range ParseDirectoryMappings(data) {
		for _, d := range m.Maps {
			x.addPaths(Reference{
				File: file, Section: m.ID, Key: "map", Value: d.Value, Line: d.Line,
				Grade: Block, Reason: "directory mapping of guests",
			}, "")
		}
	}
}
