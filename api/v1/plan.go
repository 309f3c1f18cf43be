package v1

// Plan is what labd would do. A client consents to it by sending its digest back; it never sends steps.
type Plan struct {
	Title    string   `json:"title"`
	Subjects []string `json:"subjects"`
	// Digest is the SHA-256 (hex) of the facts that the plan's guards read.
	Digest string     `json:"digest"`
	Steps  []PlanStep `json:"steps"`
	// Notes are what a person should know before consenting: what becomes reachable, what stays behind.
	Notes []string `json:"notes,omitempty"`
}

// PlanStep is one step of a plan.
type PlanStep struct {
	Title    string `json:"title"`
	How      string `json:"how"`
	Verify   string `json:"verify"`
	Undo     string `json:"undo,omitempty"`
	Risk     Risk   `json:"risk"`
	Undoable bool   `json:"undoable"`
}

// UndoRequest is the body of POST /v1/journal/{id}/undo.
type UndoRequest struct {
	Digest string `json:"digest"`
}

// Error codes of ErrorBody.
const (
	ErrorInternal     = "internal"
	ErrorUsage        = "usage"
	ErrorNotFound     = "not-found"
	ErrorRefused      = "refused"
	ErrorNotPermitted = "not-permitted"
	ErrorUnreachable  = "unreachable"
	ErrorChanged      = "changed"
	ErrorInterrupted  = "interrupted"
	ErrorBusy         = "busy"
)

// Problem is the body of every error answer, as application/problem+json (RFC 9457).
type Problem struct {
	// Type is tag:labd,2026: with the code of the error.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail is the same as the message in Error.
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
	// Error is the error as labctl -o json prints it.
	Error ErrorDetail `json:"error"`
}

// ErrorBody is the JSON object on labctl's stderr with -o json; the body of an error answer has it as a part.
type ErrorBody struct {
	Error ErrorDetail `json:"error"`
}

// ErrorDetail says what failed and what to do next.
type ErrorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// StepProgress is that a step of a plan began or ended.
type StepProgress struct {
	// Digest is that of the plan, by which a client knows its own.
	Digest string `json:"digest"`
	// Step is counted from 1; Steps is how many there are.
	Step  int    `json:"step"`
	Steps int    `json:"steps"`
	Title string `json:"title"`
	// Phase is begun, done or failed.
	Phase StepPhase `json:"phase"`
}

// Kinds of event on GET /v1/events. The data of a finding's event is a Finding, that of a plan's end a JournalItem, that of its
// step a StepProgress. A
// reset says that events were lost, so that the client must ask for everything anew.
const (
	EventFindingRaised  = "finding.raised"
	EventFindingChanged = "finding.changed"
	EventFindingCleared = "finding.cleared"
	EventPlanStep       = "plan.step"
	EventPlanEnded      = "plan.ended"
	EventReset          = "reset"
)
