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
	File string `json:"file" support:"yes"`
	// LoadedAt is when the configuration in force was read.
	LoadedAt time.Time `json:"loadedAt" support:"yes"`
	// TriedAt is when the file was last read; later than LoadedAt when it was refused then.
	TriedAt time.Time `json:"triedAt" support:"yes"`
	// Error is why the file was refused when it was last read; empty when it is in force.
	Error string `json:"error,omitempty" support:"yes"`
	// Text is the effective configuration with every key, as a configuration file.
	Text string `json:"text" support:"yes"`
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
	Code     string   `json:"code" support:"yes"`
	Subject  string   `json:"subject" support:"yes"`
	Severity Severity `json:"severity" support:"yes"`
	Title    string   `json:"title" support:"yes"`
	// First is when it was seen for the first time, Since when it came the last time, Last when it was last seen.
	First time.Time `json:"first" support:"yes"`
	Since time.Time `json:"since" support:"yes"`
	Last  time.Time `json:"last" support:"yes"`
	// Cleared is when it went away; null while it is there.
	Cleared *time.Time `json:"cleared" support:"yes"`
	// Episodes is how often it came.
	Episodes int `json:"episodes" support:"yes"`
}
