package pve

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// GuestKind tells virtual machines from containers.
type GuestKind string

// The values are PVE's words in guest IDs such as "lxc/101".
const (
	QEMU GuestKind = "qemu"
	LXC  GuestKind = "lxc"
)

// configDir is the directory below nodes/NODE.
func (k GuestKind) configDir() string {
	if k == QEMU {
		return "qemu-server"
	}
	return "lxc"
}

// Guest is a guest with its configuration.
type Guest struct {
	Kind   GuestKind
	ID     int
	Node   string
	File   string // below /etc/pve
	Config GuestConfig
}

// GuestConfig is a guest's configuration file. The first section is the live
// one, possibly empty.
type GuestConfig struct {
	Sections []GuestSection
}

// GuestSectionKind says what a section of a guest's file describes.
type GuestSectionKind int

const (
	// LiveSection holds the configuration in force.
	LiveSection GuestSectionKind = iota
	// PendingSection holds changes that wait for a restart.
	PendingSection
	// SnapshotSection holds the configuration at a snapshot.
	SnapshotSection
	// SpecialSection is PVE's own, such as special:cloudinit.
	SpecialSection
)

// GuestSection is one part of a guest's file.
type GuestSection struct {
	Kind       GuestSectionKind
	Name       string // as in the brackets; "" for the live section
	Properties []RawProperty
}

// Live returns the section in force.
func (c *GuestConfig) Live() *GuestSection { return &c.Sections[0] }

// Get returns the value of key. Of several, PVE keeps the last.
func (s *GuestSection) Get(key string) (string, bool) {
	for i := len(s.Properties) - 1; i >= 0; i-- {
		if s.Properties[i].Key == key {
			return s.Properties[i].Value, true
		}
	}
	return "", false
}

// ParseGuestConfig reads a file of qemu-server/ or lxc/. Descriptions (lines
// that begin with #) are left out; lines that PVE would ignore with a warning
// too. The names "cdrom" and "ide2" mean the same drive.
// Source: PVE::QemuServer::parse_vm_config, PVE::LXC::Config::parse_pct_config.
func ParseGuestConfig(kind GuestKind, data []byte) GuestConfig {
	c := GuestConfig{Sections: []GuestSection{{}}}
	number := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		number++
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			if s, ok := parseGuestHeader(kind, line); ok {
				c.Sections = append(c.Sections, s)
				continue
			}
		}
		key, value, ok := parseGuestLine(kind, line)
		if !ok {
			continue
		}
		if kind == QEMU && key == "cdrom" {
			key = "ide2"
		}
		s := &c.Sections[len(c.Sections)-1]
		s.Properties = append(s.Properties, RawProperty{Key: key, Value: value, HasValue: true, Line: number})
	}
	return c
}

// parseGuestHeader reads a line that begins with "[".
func parseGuestHeader(kind GuestKind, line string) (GuestSection, bool) {
	name, ok := strings.CutSuffix(strings.TrimRight(line[1:], spaces), "]")
	if !ok || name == "" {
		return GuestSection{}, false
	}
	s := GuestSection{Kind: SnapshotSection, Name: name}
	switch lower := asciiLower(name); {
	case kind == QEMU && lower == "pending", kind == LXC && lower == "pve:pending":
		s.Kind = PendingSection
	case kind == QEMU && strings.HasPrefix(lower, "special:"):
		s.Kind = SpecialSection
	default:
		// [a-z][a-z0-9_-]+, any case
		for i, r := range lower {
			letter := r >= 'a' && r <= 'z'
			if !letter && (i == 0 || !(r >= '0' && r <= '9' || r == '_' || r == '-')) {
				return GuestSection{}, false
			}
		}
		if len(name) < 2 {
			return GuestSection{}, false
		}
	}
	return s, true
}

// parseGuestLine matches ^([a-z][a-z_-]*\d*):\s*(.+?)\s*$, and for containers
// raw settings: ^(lxc\.[a-z0-9_.-]+)(:|\s*=)\s*(.*?)\s*$.
func parseGuestLine(kind GuestKind, line string) (key, value string, ok bool) {
	if kind == LXC && strings.HasPrefix(line, "lxc.") {
		i := strings.IndexAny(line, ":=")
		if i < 0 {
			return "", "", false
		}
		return strings.TrimRight(line[:i], spaces), trimSpace(line[i+1:]), true
	}
	key, value, found := strings.Cut(line, ":")
	value = trimSpace(value)
	if !found || value == "" || !validGuestKey(key) {
		return "", "", false
	}
	return key, value, true
}

func validGuestKey(key string) bool {
	name := strings.TrimRight(key, "0123456789")
	for i, r := range name {
		if (r < 'a' || r > 'z') && (i == 0 || r != '_' && r != '-') {
			return false
		}
	}
	return name != ""
}

// ReadGuests reads the configuration of every guest on every node, also on
// nodes that are gone from the cluster: their volumes may still matter. A file
// that vanishes meanwhile (a migration) is left out. Any other error is
// returned beside the guests that could be read.
func ReadGuests(fsys FS) ([]Guest, error) {
	nodes, err := readDirNames(fsys, "nodes")
	if err != nil {
		return nil, fmt.Errorf("read guests: %w", err)
	}
	var guests []Guest
	var problems []error
	for _, node := range nodes {
		for _, kind := range []GuestKind{QEMU, LXC} {
			dir := "nodes/" + node + "/" + kind.configDir()
			names, err := readDirNames(fsys, dir)
			if err != nil {
				problems = append(problems, fmt.Errorf("read guests: %w", err))
				continue
			}
			for _, name := range names {
				id, ok := guestID(name)
				if !ok {
					continue
				}
				file := dir + "/" + name
				data, err := fsys.ReadFile(file)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					problems = append(problems, fmt.Errorf("read guest: %w", err))
					continue
				}
				guests = append(guests, Guest{
					Kind: kind, ID: id, Node: node, File: file, Config: ParseGuestConfig(kind, data),
				})
			}
		}
	}
	return guests, errors.Join(problems...)
}

func guestID(file string) (int, bool) {
	name, ok := strings.CutSuffix(file, ".conf")
	id, err := strconv.Atoi(name)
	return id, ok && err == nil && id > 0
}

// readDirNames returns the sorted names in a directory, none when it is absent.
func readDirNames(fsys FS, dir string) ([]string, error) {
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}
