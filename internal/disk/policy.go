package disk

import (
	"fmt"
	"path"
	"time"
)

// Policy is the section [nvme] of labd.toml.
type Policy struct {
	// Ignore are PCI addresses to leave out of findings; * stands for any text.
	Ignore []string `toml:"ignore"`
	// ReadTimeout is how long one attribute may take before it is given up.
	ReadTimeout Duration `toml:"read_timeout"`
	// Resync is how often labd looks again.
	Resync Duration `toml:"resync"`
}

// Duration is a time span written as in Go: "1s", "30s".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := time.ParseDuration(string(text))
	*d = Duration(value)
	return err
}

// MarshalText writes a duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// DefaultPolicy ignores nothing.
func DefaultPolicy() Policy {
	return Policy{Ignore: []string{}, ReadTimeout: Duration(time.Second), Resync: Duration(30 * time.Second)}
}

// Validate checks the policy.
func (p Policy) Validate() error {
	for _, pattern := range p.Ignore {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("key %q: %q is not a PCI address", "ignore", pattern)
		}
	}
	if d := time.Duration(p.ReadTimeout); d < time.Millisecond || d > 10*time.Second {
		return fmt.Errorf("key %q must be from 1ms to 10s", "read_timeout")
	}
	if d := time.Duration(p.Resync); d < time.Second || d > time.Hour {
		return fmt.Errorf("key %q must be from 1s to 1h", "resync")
	}
	return nil
}

func (p Policy) ignored(address string) bool {
	for _, pattern := range p.Ignore {
		if ok, _ := path.Match(pattern, address); ok {
			return true
		}
	}
	return false
}
