package v1

import "time"

// APIVersion is the value of Envelope.APIVersion for all types of this package.
const APIVersion = "labd/v1"

// Kinds of Envelope.
const (
	KindNVMeReport    = "NVMeReport"
	KindStorageReport = "StorageReport"
	KindNetworkReport = "NetworkReport"
	KindFindingReport = "FindingReport"
	KindStatusReport  = "StatusReport"
	KindJournalReport = "JournalReport"
	KindPlan          = "Plan"
)

// Envelope is the outer object of every answer.
type Envelope[T any] struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Node       string `json:"node"`
	// ObservedAt is when the snapshot that the items come from was complete. The zero time means that nothing has
	// been observed yet.
	ObservedAt time.Time `json:"observedAt"`
	Items      []T       `json:"items"`
	Findings   []Finding `json:"findings"`
	// Notes are sentences for a person about the report as a whole: a job that has nothing to do on this machine,
	// a snapshot that is older than it should be.
	Notes []string `json:"notes,omitempty"`
}

// Finding says what is wrong with one subject, why, how sure that is and what to do.
type Finding struct {
	Code       string     `json:"code" support:"yes"`
	Severity   Severity   `json:"severity" support:"yes"`
	Subject    string     `json:"subject" support:"yes"`
	Title      string     `json:"title" support:"yes"`
	Cause      string     `json:"cause" support:"yes"`
	Confidence Confidence `json:"confidence" support:"yes"`
	Since      *time.Time `json:"since" support:"yes"`
	// State is empty where it is not known. Pending is not there for long enough to be told, a consequence is hidden behind
	// its cause.
	State State `json:"state,omitempty" support:"yes"`
	// Behind is the cause that hides a consequence.
	Behind *FindingRef `json:"behind,omitempty"`
	// Silence is what keeps a silenced finding out of sight.
	Silence *SilenceItem `json:"silence,omitempty"`
	// DependsOn names the findings that this one is a consequence of; null when it stands alone.
	DependsOn []FindingRef `json:"dependsOn" support:"yes"`
	Evidence  []Evidence   `json:"evidence" support:"yes"`
	Remedies  []Remedy     `json:"remedies" support:"yes"`
}

// FindingRef points to another finding.
type FindingRef struct {
	Code    string `json:"code" support:"yes"`
	Subject string `json:"subject" support:"yes"`
}

// Evidence is one observed fact with the place it was seen.
type Evidence struct {
	Source string `json:"source" support:"yes"`
	Text   string `json:"text" support:"yes"`
}

// Remedy is one way out, with the commands for this very host.
type Remedy struct {
	Title    string   `json:"title" support:"yes"`
	Risk     Risk     `json:"risk"`
	Commands []string `json:"commands"`
}
