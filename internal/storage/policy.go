package storage

import (
	"fmt"
	"path"
	"time"
)

// Policy is the section [storage] of labd.toml.
type Policy struct {
	// Grace is how long a storage must have been found gone before a bare fix-storage takes it.
	Grace Duration `toml:"grace"`
	// Ignore are storage ids to leave alone; * stands for any text.
	Ignore []string `toml:"ignore"`
	// Resync is how often labd looks again.
	Resync Duration `toml:"resync"`
}

// Duration is a time span written as in Go: "72h", "30s".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := time.ParseDuration(string(text))
	*d = Duration(value)
	return err
}

// MarshalText writes a duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// DefaultPolicy waits three days: long enough for a weekend without the external disk.
func DefaultPolicy() Policy {
	return Policy{Grace: Duration(72 * time.Hour), Ignore: []string{}, Resync: Duration(30 * time.Second)}
}

// Validate checks the policy.
func (p Policy) Validate() error {
	if time.Duration(p.Grace) < 0 {
		return fmt.Errorf("key %q must not be negative", "grace")
	}
	if time.Duration(p.Resync) < time.Second || time.Duration(p.Resync) > time.Hour {
		return fmt.Errorf("key %q must be from 1s to 1h", "resync")
	}
	for _, pattern := range p.Ignore {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("key %q: %q is not a storage id", "ignore", pattern)
		}
	}
	return nil
}

func (p Policy) ignored(id string) bool {
	for _, pattern := range p.Ignore {
		if ok, _ := path.Match(pattern, id); ok {
			return true
		}
	}
	return false
}
