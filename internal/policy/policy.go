// Package policy holds what the sections of labd.toml have in common.
package policy

import (
	"cmp"
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

// KeyError says what is wrong with the value of a key. The key is that of the section until the whole configuration is checked.
type KeyError struct {
	Key string
	Err error
}

func (e *KeyError) Error() string { return fmt.Sprintf("key %q: %v", e.Key, e.Err) }

// Unwrap returns what is wrong.
func (e *KeyError) Unwrap() error { return e.Err }

// Wrong returns the error that the value of key is wrong, as fmt.Errorf says it.
func Wrong(key, format string, args ...any) error { return &KeyError{key, fmt.Errorf(format, args...)} }

// Within returns an error when the value of key is not from least to most.
func Within[T cmp.Ordered](key string, value, least, most T) error {
	if value < least || value > most {
		return Wrong(key, "%v is not from %v to %v", value, least, most)
	}
	return nil
}

// Within returns an error when the value of key is not from least to most.
func (d Duration) Within(key string, least, most time.Duration) error {
	return Within(key, time.Duration(d), least, most)
}

// CheckPatterns says which of the patterns of key is none; * stands for any text without a slash.
func CheckPatterns(key string, patterns []string) error {
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return Wrong(key, "%q is not a name or pattern", pattern)
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
