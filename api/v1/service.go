package v1

import "time"

// Kinds of Envelope about labd itself.
const (
	KindConfigReport  = "ConfigReport"
	KindSilenceReport = "SilenceReport"
	KindHistoryReport = "HistoryReport"
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

// SilenceItem keeps findings out of sight until a time: those with the code, of the subject, or both.
type SilenceItem struct {
	ID   string `json:"id"`
	Code string `json:"code,omitempty"`
	// Subject may be a pattern, in which * stands for any text without a slash.
	Subject string    `json:"subject,omitempty"`
	Reason  string    `json:"reason"`
	Actor   string    `json:"actor"`
	Created time.Time `json:"created"`
	Until   time.Time `json:"until"`
}

// SilenceRequest is the body of POST /v1/silences. Code or Subject or both are given.
type SilenceRequest struct {
	Code    string `json:"code,omitempty"`
	Subject string `json:"subject,omitempty"`
	Reason  string `json:"reason"`
	// Seconds is how long the silence lasts.
	Seconds int64 `json:"seconds"`
}

// HistoryItem is one finding that is or was there.
type HistoryItem struct {
	Code     string   `json:"code"`
	Subject  string   `json:"subject"`
	Severity Severity `json:"severity"`
	Title    string   `json:"title"`
	// First is when it was seen for the first time, Since when it came the last time, Last when it was last seen.
	First time.Time `json:"first"`
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	// Cleared is when it went away; null while it is there.
	Cleared *time.Time `json:"cleared"`
	// Episodes is how often it came.
	Episodes int `json:"episodes"`
}
