// Package policy holds what the sections of labd.toml have in common.
package policy

import (
	"fmt"
	"path"
	"time"
)

// Duration is a time span written as in Go: "1500ms", "30s", "72h".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := time.ParseDuration(string(text))
	*d = Duration(value)
	return err
}

// MarshalText writes a duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Within says that the value of key lies outside its limits; nil when it does not.
func (d Duration) Within(key string, least, most time.Duration) error {
	if time.Duration(d) < least || time.Duration(d) > most {
		return fmt.Errorf("key %q: %s is not from %s to %s", key, time.Duration(d), least, most)
	}
	return nil
}

// CheckPatterns says which of the patterns of key is none; * stands for any text without a slash.
func CheckPatterns(key string, patterns []string) error {
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("key %q: %q is not a name or pattern", key, pattern)
		}
	}
	return nil
}

// Matches tells whether one of the patterns names name.
func Matches(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}
