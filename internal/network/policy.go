package network

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"labd/internal/docker"
	"labd/internal/netfilter"
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
	// Pools are the prefixes in which a Docker subnet is believed. One elsewhere waits for labctl net approve.
	Pools []netip.Prefix `toml:"pools"`
	// From are the sources that may reach the containers; empty means the prefixes that the uplink is connected to.
	From []netip.Prefix `toml:"from"`
	// DefaultMode is the mode of a network for which nothing else says one: direct, alias or off. Modes says it for
	// containers ("lxc/101") and networks ("network/101/web_*"); the pattern that spells out most counts, one of a
	// network before one of a container.
	DefaultMode string            `toml:"default_mode"`
	Modes       map[string]string `toml:"modes"`
	// AllowLabels lets the label labd.mode of a Docker network choose its mode, where Modes names neither the network nor
	// off.
	AllowLabels bool `toml:"allow_labels"`
	// AliasPools are the prefixes that aliases are taken from, AliasLength is the longest prefix that an IPv4 alias has:
	// of a wider subnet the first part is mapped, where Docker puts its containers.
	AliasPools  []netip.Prefix `toml:"alias_pools"`
	AliasLength int            `toml:"alias_length"`
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

// Limits of a Docker subnet that gets a route, in bits of its prefix length.
const (
	widestPrefix     = 16
	narrowestPrefix  = 30
	widestPrefix6    = 48
	narrowestPrefix6 = 126
)

// limits are the limits of a family.
func limits(f netfilter.Family) (widest, narrowest int) {
	if f == netfilter.IPv6 {
		return widestPrefix6, narrowestPrefix6
	}
	return widestPrefix, narrowestPrefix
}

// DefaultPolicy observes only. Its pools are the ranges that Docker and Podman take their first subnets from; 192.168.0.0/16,
// which Docker takes when those are used up, is where home networks are.
func DefaultPolicy() Policy {
	return Policy{
		Mode:        ModeObserve,
		Pools:       []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("10.88.0.0/16"), netip.MustParsePrefix("10.89.0.0/16")},
		From:        []netip.Prefix{},
		DefaultMode: ModeDirect,
		Modes:       map[string]string{},
		AliasPools:  []netip.Prefix{},
		AliasLength: 24,
		Ignore:      []string{},
		MaxNetworks: 32,
		Timeout:     policy.Duration(1500 * time.Millisecond),
		Resync:      policy.Duration(60 * time.Second),
	}
}

// Validate checks the policy.
func (p Policy) Validate() error {
	if p.Mode != ModeObserve && p.Mode != ModeReconcile {
		return policy.Wrong("mode", "%q is neither %s nor %s", p.Mode, ModeObserve, ModeReconcile)
	}
	for _, list := range []struct {
		key      string
		prefixes []netip.Prefix
	}{{"pools", p.Pools}, {"alias_pools", p.AliasPools}, {"from", p.From}} {
		for _, prefix := range list.prefixes {
			if !prefix.IsValid() || prefix != prefix.Masked() {
				return policy.Wrong(list.key, "%s has bits beyond its length; did you mean %s?", prefix, prefix.Masked())
			}
			if prefix.Bits() == 0 {
				return policy.Wrong(list.key, "%s is everything", prefix)
			}
		}
	}
	if err := policy.CheckPatterns("ignore", p.Ignore); err != nil {
		return err
	}
	for _, pattern := range p.Ignore {
		if !strings.HasPrefix(pattern, "lxc/") && !strings.HasPrefix(pattern, "network/") {
			return policy.Wrong("ignore", "%q names neither lxc/ID nor network/ID/NAME", pattern)
		}
	}
	if err := p.validateModes(); err != nil {
		return err
	}
	if p.Uplink != "" && !docker.ValidInterface(p.Uplink) {
		return policy.Wrong("uplink", "%q cannot be an interface", p.Uplink)
	}
	if p.MaxNetworks < 1 {
		return policy.Wrong("max_networks", "%d is not at least 1", p.MaxNetworks)
	}
	return errors.Join(
		p.Timeout.Within("timeout", 100*time.Millisecond, time.Minute),
		p.Resync.Within("resync", time.Second, time.Hour),
	)
}

// validateModes checks what says how networks are made reachable.
func (p Policy) validateModes() error {
	if !validMode(p.DefaultMode) {
		return policy.Wrong("default_mode", "%q is none of %s, %s, %s", p.DefaultMode, ModeDirect, ModeAlias, ModeOff)
	}
	for _, pattern := range slices.Sorted(maps.Keys(p.Modes)) {
		if err := policy.CheckPatterns("modes", []string{pattern}); err != nil {
			return err
		}
		if !strings.HasPrefix(pattern, "lxc/") && !strings.HasPrefix(pattern, "network/") {
			return policy.Wrong("modes", "%q names neither lxc/ID nor network/ID/NAME", pattern)
		}
		if !validMode(p.Modes[pattern]) {
			return policy.Wrong("modes", "%q of %q is none of %s, %s, %s", p.Modes[pattern], pattern, ModeDirect, ModeAlias, ModeOff)
		}
	}
	for _, alias := range p.AliasPools {
		for _, pool := range p.Pools {
			if alias.Overlaps(pool) {
				return policy.Wrong("alias_pools", "%s overlaps %s of pools; an alias must not be a Docker subnet", alias, pool)
			}
		}
		if addr := alias.Addr(); addr.IsLoopback() || addr.IsMulticast() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() {
			return policy.Wrong("alias_pools", "%s is a range with a meaning of its own", alias)
		}
	}
	return policy.Within("alias_length", p.AliasLength, widestPrefix, narrowestPrefix)
}

func validMode(mode string) bool { return mode == ModeDirect || mode == ModeAlias || mode == ModeOff }

// modeOf is the mode of a network, and who says so. label is the network's own label. What switches off counts before
// anything that switches on.
func (p Policy) modeOf(container, network, label string) (mode, by string) {
	ofNetwork, ofContainer := p.configuredMode(network), p.configuredMode(container)
	switch {
	case ofNetwork != "":
		return ofNetwork, "labd.toml"
	case ofContainer == ModeOff:
		return ModeOff, "labd.toml"
	case p.AllowLabels && validMode(label):
		return label, "its label labd.mode"
	case ofContainer != "":
		return ofContainer, "labd.toml"
	}
	return p.DefaultMode, "labd.toml"
}

// configuredMode is what Modes says of a subject, "" when nothing: the pattern that spells out most of it, of equal ones
// the first.
func (p Policy) configuredMode(subject string) string {
	best, spelled := "", -1
	for _, pattern := range slices.Sorted(maps.Keys(p.Modes)) {
		if n := len(strings.ReplaceAll(pattern, "*", "")); n > spelled && policy.Matches([]string{pattern}, subject) {
			best, spelled = pattern, n
		}
	}
	return p.Modes[best]
}

// Active reports whether labd keeps routes and rules so, by the stored switch ("on", "off" or "") and the mode.
func (p Policy) Active(stored string) bool {
	return stored == SwitchOn || stored != SwitchOff && p.Mode == ModeReconcile
}

// ignored reports whether the policy leaves a subject alone.
func (p Policy) ignored(subject string) bool { return policy.Matches(p.Ignore, subject) }
