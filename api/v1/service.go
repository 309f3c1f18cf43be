package v1

import "time"

// Kinds of Envelope about labd itself.
const (
	KindConfigReport = "ConfigReport"
)

// ConfigItem is the configuration in force. It holds no secret: secrets are in files that it names.
type ConfigItem struct {
	// File is the configuration file; it may be missing, then all keys have their defaults.
	File string `json:"file"`
	// LoadedAt is when the configuration in force was read.
	LoadedAt time.Time `json:"loadedAt"`
	// TriedAt is when the file was last read; later than LoadedAt when it was refused then.
	TriedAt time.Time `json:"triedAt"`
	// Error is why the file was refused when it was last read; empty when it is in force.
	Error string `json:"error,omitempty"`
	// Text is the effective configuration with every key, as a configuration file.
	Text string `json:"text"`
}
