package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// Values of the stored switch.
const (
	SwitchOn  = "on"
	SwitchOff = "off"
)

// stateVersion is the format of network-owners.json.
const stateVersion = 1

// State is what survives a restart, below the state directory: the switch of labctl net on and off, and who had a
// prefix first. Routes and rules are not in it: their mark in the kernel is the record.
type State struct{ dir string }

// NewState returns the state in dir.
func NewState(dir string) *State { return &State{dir: dir} }

func (s *State) switchFile() string { return filepath.Join(s.dir, "network-switch") }
func (s *State) ownersFile() string { return filepath.Join(s.dir, "network-owners.json") }

type ownersJSON struct {
	Version int                     `json:"version"`
	Owners  map[netip.Prefix]string `json:"owners"`
}

// Switch is "on", "off" or "".
func (s *State) Switch() (string, error) {
	data, err := os.ReadFile(s.switchFile())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the stored switch: %w", err)
	}
	switch value := strings.TrimSpace(string(data)); value {
	case SwitchOn, SwitchOff:
		return value, nil
	default:
		// A switch that cannot be read must not turn anything on.
		return SwitchOff, nil
	}
}

// SetSwitch stores the switch; "" forgets it.
func (s *State) SetSwitch(value string) error {
	if value == "" {
		if err := os.Remove(s.switchFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget the switch: %w", err)
		}
		return nil
	}
	return s.write(s.switchFile(), []byte(value+"\n"))
}

func (s *State) write(file string, data []byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := renameio.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// read returns the switch and the owners. Owners that cannot be read are forgotten: they only decide who was first.
func (s *State) read() (string, map[netip.Prefix]string, error) {
	value, err := s.Switch()
	if err != nil {
		return "", nil, err
	}
	var owners ownersJSON
	if data, err := os.ReadFile(s.ownersFile()); err == nil && json.Unmarshal(data, &owners) == nil && owners.Version == stateVersion && owners.Owners != nil {
		return value, owners.Owners, nil
	}
	return value, map[netip.Prefix]string{}, nil
}

// setOwners stores the owners.
func (s *State) setOwners(owners map[netip.Prefix]string) error {
	data, err := json.MarshalIndent(ownersJSON{stateVersion, owners}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the owners of prefixes: %w", err)
	}
	return s.write(s.ownersFile(), append(data, '\n'))
}
