package storage

import (
	"errors"
	"time"

	"labd/internal/policy"
)

// Policy is the section [storage] of labd.toml.
type Policy struct {
	// Grace is how long a storage must have been found gone before a bare fix-storage takes it.
	Grace policy.Duration `toml:"grace"`
	// Ignore are storage ids to leave alone; * stands for any text.
	Ignore []string `toml:"ignore"`
	// Probe says that servers of network storages are connected to, to see whether they answer.
	Probe bool `toml:"probe"`
	// Resync is how often labd looks again.
	Resync policy.Duration `toml:"resync"`
}

// DefaultPolicy waits three days: long enough for a weekend without the external disk.
func DefaultPolicy() Policy {
	return Policy{Grace: policy.Duration(72 * time.Hour), Ignore: []string{}, Probe: true, Resync: policy.Duration(30 * time.Second)}
}

// Validate checks the policy.
func (p Policy) Validate() error {
	return errors.Join(
		policy.CheckPatterns("ignore", p.Ignore),
		p.Grace.Within("grace", 0, 10*365*24*time.Hour),
		p.Resync.Within("resync", time.Second, time.Hour),
	)
}

// ignored tells whether the policy leaves a storage alone.
func (p Policy) ignored(id string) bool { return policy.Matches(p.Ignore, id) }
