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
	// Health asks the drives for their own health (SMART), every HealthInterval.
	Health         bool            `toml:"health"`
	HealthInterval policy.Duration `toml:"health_interval"`
	// WearPercent is the share of a drive's rated life, in percent, from which on nvme.wear is raised; WearDays raises it as
	// many days before 100 % at the pace of the last 30 days.
	WearPercent int `toml:"wear_percent"`
	WearDays    int `toml:"wear_days"`
	// Resync is how often labd looks again.
	Resync policy.Duration `toml:"resync"`
}

// DefaultPolicy ignores nothing.
func DefaultPolicy() Policy {
	return Policy{
		Ignore: []string{}, ReadTimeout: policy.Duration(time.Second), Resync: policy.Duration(30 * time.Second),
		Health: true, HealthInterval: policy.Duration(5 * time.Minute), WearPercent: 80, WearDays: 90,
	}
}

// Validate checks the policy.
func (p Policy) Validate() error {
	return errors.Join(
		policy.CheckPatterns("ignore", p.Ignore),
		p.ReadTimeout.Within("read_timeout", time.Millisecond, 10*time.Second),
		p.HealthInterval.Within("health_interval", 10*time.Second, 24*time.Hour),
		policy.Within("wear_percent", p.WearPercent, 1, 255),
		policy.Within("wear_days", p.WearDays, 0, 3650),
		p.Resync.Within("resync", time.Second, time.Hour),
	)
}

// ignored reports whether the policy leaves a PCI address alone.
func (p Policy) ignored(address string) bool { return policy.Matches(p.Ignore, address) }
