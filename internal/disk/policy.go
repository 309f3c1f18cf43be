package disk

import (
	"errors"
	"time"

	"labd/internal/policy"
)

// Policy is the section [nvme] of labd.toml.
type Policy struct {
	// Ignore are PCI addresses to leave out of findings; * stands for any text.
	Ignore []string `toml:"ignore"`
	// ReadTimeout is how long the attributes of one drive may hang, all together, before they are given up.
	ReadTimeout policy.Duration `toml:"read_timeout"`
	// Resync is how often labd looks again.
	Resync policy.Duration `toml:"resync"`
}

// DefaultPolicy ignores nothing.
func DefaultPolicy() Policy {
	return Policy{Ignore: []string{}, ReadTimeout: policy.Duration(time.Second), Resync: policy.Duration(30 * time.Second)}
}

// Validate checks the policy.
func (p Policy) Validate() error {
	return errors.Join(
		policy.CheckPatterns("ignore", p.Ignore),
		p.ReadTimeout.Within("read_timeout", time.Millisecond, 10*time.Second),
		p.Resync.Within("resync", time.Second, time.Hour),
	)
}

// ignored tells whether the policy leaves a PCI address alone.
func (p Policy) ignored(address string) bool { return policy.Matches(p.Ignore, address) }
