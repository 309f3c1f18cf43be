package v1

import "time"

// Kinds of Envelope about notifications.
const (
	KindNotificationReport = "NotificationReport"
	KindNotificationTest   = "NotificationTest"
)

// NotificationItem is one target of notifications.
type NotificationItem struct {
	// ID is mail, or the name of the file that holds a webhook's address, without its ending.
	ID string `json:"id" support:"yes"`
	// Kind is mail or webhook.
	Kind string `json:"kind" support:"yes"`
	// To is where messages go; never a secret.
	To string `json:"to"`
	// Pending is how many findings the target is still to be told of.
	Pending int `json:"pending" support:"yes"`
	// Sent and Failed count messages since labd started.
	Sent   uint64 `json:"sent" support:"yes"`
	Failed uint64 `json:"failed" support:"yes"`
	// LastSuccess and LastFailure are null for never.
	LastSuccess *time.Time `json:"lastSuccess" support:"yes"`
	LastFailure *time.Time `json:"lastFailure"`
	// Error is why the last message was not taken; empty when it was.
	Error string `json:"error,omitempty" support:"yes"`
	// Failing says that several messages in a row were not taken.
	Failing bool `json:"failing" support:"yes"`
}

// NotificationTestRequest is the body of POST /v1/notifications/test.
type NotificationTestRequest struct {
	// Targets are the ids of targets; none means all.
	Targets []string `json:"targets,omitempty"`
}

// NotificationTestItem is how the test of one target went.
type NotificationTestItem struct {
	ID    string `json:"id"`
	To    string `json:"to"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	// Seconds is how long the target took.
	Seconds float64 `json:"seconds"`
}
