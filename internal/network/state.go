package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/google/renameio/v2"

	"labd/internal/statefile"
)

// Values of the stored switch.
const (
	SwitchOn  = "on"
	SwitchOff = "off"
)

// stateVersion is the format of the JSON files. The first one had no checksum; it is not read.
const stateVersion = 2

// State is what survives a restart, below the state directory: the switch of labctl net on and off, who had a prefix
// first, and which interfaces labd made forward. Routes and rules are not in it: their mark in the kernel is the record.
// All of it may be lost: labd then decides anew who was first, and labctl undo still knows the rest from the journal. The
// switch is one word: no copy from before may turn on what was turned off.
type State struct {
	dir         string
	repairs     atomic.Uint64
	contentions contentions

	mu sync.Mutex
	// read are the values of files as they were last read, writes how many were written.
	read   map[string]fileValue
	writes uint64
	// files are the JSON files.
	files map[string]*statefile.File
}

// fileValue is what was read from a file, and the file that it was read from.
type fileValue struct {
	info  os.FileInfo
	value any
}

// same reports whether a file is the one that was read. Each write makes a new file.
func (v fileValue) same(info os.FileInfo) bool {
	return v.info != nil && os.SameFile(v.info, info) && v.info.ModTime().Equal(info.ModTime()) && v.info.Size() == info.Size()
}

// NewState returns the state in dir.
func NewState(dir string) *State {
	return &State{dir: dir, read: map[string]fileValue{}, files: map[string]*statefile.File{}}
}

// Owner is the network that had a prefix first. The zero Owner is none.
type Owner struct {
	Container int
	Network   string
}

// String returns the owner as "101/web_default", which is also its form in the state directory and in the journal.
func (o Owner) String() string { return strconv.Itoa(o.Container) + "/" + o.Network }

// MarshalText writes what String returns.
func (o Owner) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what String returns. What it cannot read is no owner: a state directory must not stop labd.
func (o *Owner) UnmarshalText(text []byte) error {
	*o = Owner{}
	id, name, ok := strings.Cut(string(text), "/")
	if n, err := strconv.Atoi(id); ok && err == nil && n > 0 {
		*o = Owner{Container: n, Network: name}
	}
	return nil
}

// Owners are the owners of prefixes.
type Owners map[netip.Prefix]Owner

func (s *State) file(name string) string { return filepath.Join(s.dir, name) }

const (
	switchFile     = "network-switch"
	ownersFile     = "network-owners.json"
	forwardingList = "network-forwarding.json"
	approvedFile   = "network-approved.json"
)

// Switch is "on", "off" or "". What cannot be understood is "off": it must not turn anything on.
func (s *State) Switch() (string, error) {
	data, err := os.ReadFile(s.file(switchFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the stored switch: %w", err)
	}
	if strings.TrimSpace(string(data)) == SwitchOn {
		return SwitchOn, nil
	}
	return SwitchOff, nil
}

// SetSwitch stores the switch; "" forgets it.
func (s *State) SetSwitch(value string) error {
	if value == "" {
		return s.remove(switchFile)
	}
	return s.write(switchFile, []byte(value+"\n"))
}

func (s *State) remove(name string) error {
	if err := os.Remove(s.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was stored: %w", err)
	}
	return nil
}

func (s *State) write(name string, data []byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", s.file(name), err)
	}
	if err := renameio.WriteFile(s.file(name), data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", s.file(name), err)
	}
	s.wrote(name)
	return nil
}

// wrote forgets what was read from a file: a new one may get the number and the time of the one before.
func (s *State) wrote(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.read, name)
	s.writes++
}

// stored is a JSON file of the state, with a checksum and the copy before it.
func (s *State) stored(name string) *statefile.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files[name] == nil {
		s.files[name] = statefile.New(s.file(name), stateVersion)
	}
	return s.files[name]
}

// load reads a file; where it is damaged the copy before it; what is missing or of a newer labd is empty. The value is
// shared: it must not be changed.
func load[T any](s *State, name string) (value T) {
	info, err := os.Stat(s.file(name))
	if err != nil {
		return value
	}
	s.mu.Lock()
	known := s.read[name]
	s.mu.Unlock()
	if known.same(info) {
		value, _ = known.value.(T)
		return value
	}
	// What cannot be read is nothing remembered: see State.
	_ = s.stored(name).Load(func(_ int, data []byte) error { return json.Unmarshal(data, &value) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read[name] = fileValue{info, value}
	return value
}

// stamp is a text that changes when a file of the state does.
func (s *State) stamp() string {
	var out strings.Builder
	s.mu.Lock()
	fmt.Fprint(&out, s.writes, " ")
	s.mu.Unlock()
	for _, name := range []string{switchFile, ownersFile, forwardingList, approvedFile} {
		if info, err := os.Stat(s.file(name)); err == nil {
			stat, _ := info.Sys().(*syscall.Stat_t)
			fmt.Fprint(&out, stat.Ino, ":", info.ModTime().UnixNano())
		}
		out.WriteByte(' ')
	}
	return out.String()
}

func (s *State) save(name string, value any) error {
	if err := s.stored(name).Save(value); err != nil {
		return err
	}
	s.wrote(name)
	return nil
}

func (s *State) owners() Owners { return load[Owners](s, ownersFile) }

func (s *State) setOwners(owners Owners) error { return s.save(ownersFile, owners) }

// approved are the prefixes outside the pools that a person let have routes, sorted.
func (s *State) approved() []netip.Prefix { return load[[]netip.Prefix](s, approvedFile) }

func (s *State) setApproved(prefixes []netip.Prefix) error { return s.save(approvedFile, prefixes) }

// forwarding are the host's interfaces that labd made forward, sorted.
func (s *State) forwarding() []string { return load[[]string](s, forwardingList) }

// noteForwarding keeps in mind whether labd made an interface forward.
func (s *State) noteForwarding(name string, on bool) error {
	list := slices.DeleteFunc(slices.Clone(s.forwarding()), func(n string) bool { return n == name })
	if on {
		list = append(list, name)
	}
	slices.Sort(list)
	return s.save(forwardingList, list)
}
