package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"labd/internal/docker"
	"labd/internal/policy"
)

// Modes of Policy.Mode.
const (
	ModeObserve   = "observe"
	ModeReconcile = "reconcile"
)

// Policy is the section [network] of labd.toml.
type Policy struct {
	// Mode is observe (routes and rules are planned and shown) or reconcile (they are made and kept).
	Mode string `toml:"mode"`
	// Pools are the prefixes that a Docker subnet must lie in.
	Pools []netip.Prefix `toml:"pools"`
	// From are the sources that may reach the containers; empty means the prefixes that the uplink is connected to.
	From []netip.Prefix `toml:"from"`
	// Uplink is the host's interface to the LAN; empty means the one of the default route, and where there is none every
	// interface with an address: a host that is its lab's own router.
	Uplink string `toml:"uplink"`
	// Ignore names containers ("lxc/101") and networks ("network/101/web_default") to leave alone; * stands for any
	// text without a slash.
	Ignore []string `toml:"ignore"`
	// OverrideUserDrop opens a network also where a DROP or REJECT of the user's own in the container closes it.
	OverrideUserDrop bool `toml:"override_user_drop"`
	// MaxNetworks is how many networks of one container are programmed at the most.
	MaxNetworks int `toml:"max_networks"`
	// Timeout is how long the look into one container may take.
	Timeout policy.Duration `toml:"timeout"`
	// Resync is how often labd looks again without a cause.
	Resync policy.Duration `toml:"resync"`
}

// Limits of a Docker subnet that gets a route, in bits of the IPv4 prefix length.
const (
	widestPrefix    = 16
	narrowestPrefix = 30
)

// DefaultPolicy observes only. Its pools are the ranges that Docker takes its subnets from by default.
func DefaultPolicy() Policy {
	return Policy{
		Mode:        ModeObserve,
		Pools:       []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16")},
		From:        []netip.Prefix{},
		Ignore:      []string{},
		MaxNetworks: 32,
		Timeout:     policy.Duration(1500 * time.Millisecond),
		Resync:      policy.Duration(30 * time.Second),
	}
}

// Validate checks the policy.
func (p Policy) Validate() error {
	if p.Mode != ModeObserve && p.Mode != ModeReconcile {
		return fmt.Errorf("key %q: %q is neither %s nor %s", "mode", p.Mode, ModeObserve, ModeReconcile)
	}
	for _, list := range []struct {
		key      string
		prefixes []netip.Prefix
	}{{"pools", p.Pools}, {"from", p.From}} {
		for _, prefix := range list.prefixes {
			if !prefix.IsValid() || prefix != prefix.Masked() {
				return fmt.Errorf("key %q: %s has bits beyond its length; did you mean %s?", list.key, prefix, prefix.Masked())
			}
			if prefix.Bits() == 0 {
				return fmt.Errorf("key %q: %s is everything", list.key, prefix)
			}
		}
	}
	if err := policy.CheckPatterns("ignore", p.Ignore); err != nil {
		return err
	}
	for _, pattern := range p.Ignore {
		if !strings.HasPrefix(pattern, "lxc/") && !strings.HasPrefix(pattern, "network/") {
			return fmt.Errorf("key %q: %q names neither lxc/ID nor network/ID/NAME", "ignore", pattern)
		}
	}
	if p.Uplink != "" && !docker.ValidInterface(p.Uplink) {
		return fmt.Errorf("key %q: %q cannot be an interface", "uplink", p.Uplink)
	}
	if p.MaxNetworks < 1 {
		return fmt.Errorf("key %q must be at least 1", "max_networks")
	}
	return errors.Join(
		p.Timeout.Within("timeout", 100*time.Millisecond, time.Minute),
		p.Resync.Within("resync", time.Second, time.Hour),
	)
}

// Active tells whether labd keeps routes and rules so, by the stored switch ("on", "off" or "") and the mode.
func (p Policy) Active(stored string) bool {
	return stored == SwitchOn || stored != SwitchOff && p.Mode == ModeReconcile
}

// ignored tells whether the policy leaves a subject alone.
func (p Policy) ignored(subject string) bool { return policy.Matches(p.Ignore, subject) }
