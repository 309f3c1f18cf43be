// Package finding holds what labd says is wrong: a stable code, how bad it is, with which subject, the evidence, the
// cause and the ways out. Findings are values that the domains' pure diagnose functions return.
package finding

import (
	"cmp"
	"slices"
	"time"

	"labd/internal/health"
)

// Severity is how bad a finding is.
type Severity int

// Severities, from harmless to bad.
const (
	Info Severity = iota + 1
	Warn
	Fail
)

// String is the name in JSON, metrics and docs.
func (s Severity) String() string {
	switch s {
	case Info:
		return "info"
	case Warn:
		return "warn"
	case Fail:
		return "fail"
	default:
		return "unknown"
	}
}

// Health returns how bad a finding of the severity is, in the one order of badness.
func (s Severity) Health() health.Level { return health.Level(s.String()) }

// Confidence is how sure the cause is.
type Confidence string

// Confidences.
const (
	Certain Confidence = "certain"
	Likely  Confidence = "likely"
	Unknown Confidence = "unknown"
)

// Risk is what a remedy or a plan step can cost.
type Risk string

// Risks.
const (
	RiskNone Risk = "none"
	RiskLow  Risk = "low"
	RiskHigh Risk = "high"
)

// Ref points to another finding.
type Ref struct {
	Code    Code
	Subject Subject
}

// Evidence is one observed fact and where it was seen: a sysfs path, "kernel log", "storage.cfg".
type Evidence struct {
	Source string
	Text   string
}

// Remedy is one way out, with the commands for this very host. Remedies are ordered best first.
type Remedy struct {
	Title    string
	Risk     Risk
	Commands []string
}

// Finding is one thing that is wrong, or worth knowing, about one subject.
type Finding struct {
	Code       Code
	Severity   Severity
	Subject    Subject
	Title      string
	Cause      string
	Confidence Confidence
	// Since is when the finding was first seen; set by a Registry, zero before. So are State, the Silence of a silenced
	// finding, and Behind, the cause behind which a consequence is hidden.
	Since   time.Time
	State   State
	Silence *Silence
	Behind  *Ref
	// DependsOn names the findings that this one is a consequence of.
	DependsOn []Ref
	Evidence  []Evidence
	Remedies  []Remedy
}

// Ref is the reference to f.
func (f Finding) Ref() Ref { return Ref{Code: f.Code, Subject: f.Subject} }

// Sort orders findings worst first, then by subject and code, so that output is stable.
func Sort(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Code, b.Code))
	})
}

// Worst is the highest severity among fs, 0 when there is none.
func Worst(fs []Finding) Severity {
	var worst Severity
	for _, f := range fs {
		worst = max(worst, f.Severity)
	}
	return worst
}

// Codes are the codes of the findings about subject, sorted and without repetition; never nil.
func Codes(fs []Finding, subject Subject) []string {
	codes := []string{}
	for _, f := range fs {
		if f.Subject == subject {
			codes = append(codes, string(f.Code))
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}
