package notify

import (
	"cmp"
	"slices"
	"time"

	"labd/internal/finding"
)

// Told is what a target was told of one finding. Times are wall-clock times.
type Told struct {
	Code     finding.Code     `json:"code"`
	Subject  finding.Subject  `json:"subject"`
	Severity finding.Severity `json:"severity"`
	Title    string           `json:"title"`
	At       time.Time        `json:"at"`
	// Over is when the target was told that it is over; zero while that has not been.
	Over time.Time `json:"over,omitzero"`
	// Times is how often it was told to be over since it last kept quiet for a day.
	Times int `json:"times,omitempty"`
}

// Ref is the reference to the finding.
func (t Told) Ref() finding.Ref { return finding.Ref{Code: t.Code, Subject: t.Subject} }

// changeKind is what there is to tell of a finding.
type changeKind int

const (
	isNew changeKind = iota
	isWorse
	isOver
)

// change is one thing to tell.
type change struct {
	kind    changeKind
	finding finding.Finding
}

// rank puts what is over behind what is there.
func (c change) rank() int {
	if c.kind == isOver {
		return 1
	}
	return 0
}

// Bounds of what is remembered of a target.
const (
	maxTold  = 500
	overKept = 24 * time.Hour
	// firstHold is how long a finding that came back must have been away before that is told, doubled with every time.
	firstHold = 10 * time.Minute
	maxHold   = 2 * time.Hour
)

// Findings knows what there is; a *finding.Registry.
type Findings interface {
	// Current are the findings that are there, with their states.
	Current(now time.Time) []finding.Finding
	// History also has those that may be over in a moment, and those that went away.
	History() []finding.Record
}

// compare finds what a target has not been told. Only active findings are news: what is silenced, hidden behind its cause
// or too young to tell is not. Something is over when it is gone altogether, not when it is silenced. An end of something
// that comes and goes is held back, longer each time, so that it is told as standing and not over and over.
func compare(told []Told, findings Findings, least finding.Severity, now time.Time) []change {
	known := make(map[finding.Ref]Told, len(told))
	for _, t := range told {
		known[t.Ref()] = t
	}
	changes := slices.Concat(news(known, findings.Current(now), least), ends(told, findings, now))
	slices.SortStableFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(b.finding.Severity, a.finding.Severity),
			cmp.Compare(a.finding.Subject, b.finding.Subject), cmp.Compare(a.finding.Code, b.finding.Code))
	})
	return changes
}

// news are the active findings that are not known, or known as less bad.
func news(known map[finding.Ref]Told, current []finding.Finding, least finding.Severity) (changes []change) {
	for _, f := range current {
		if f.State != finding.StateActive || f.Severity < least {
			continue
		}
		switch t, ok := known[f.Ref()]; {
		case !ok || !t.Over.IsZero():
			changes = append(changes, change{isNew, f})
		case f.Severity > t.Severity:
			changes = append(changes, change{isWorse, f})
		}
	}
	return changes
}

// ends are the findings that were told, are gone, and have been for long enough.
func ends(told []Told, findings Findings, now time.Time) (changes []change) {
	if !slices.ContainsFunc(told, func(t Told) bool { return t.Over.IsZero() }) {
		return nil
	}
	records := map[finding.Ref]finding.Record{}
	for _, r := range findings.History() {
		if _, ok := records[r.Ref()]; !ok { // what is there comes first
			records[r.Ref()] = r
		}
	}
	for _, t := range told {
		r, ok := records[t.Ref()]
		if !t.Over.IsZero() || (ok && r.Cleared.IsZero()) || (ok && now.Sub(r.Cleared) < hold(t.Times) && !r.Cleared.After(now)) {
			continue
		}
		changes = append(changes, change{isOver, finding.Finding{Code: t.Code, Subject: t.Subject, Severity: t.Severity, Title: t.Title, Since: t.At}})
	}
	return changes
}

// hold is how long something that was over times before must be away to be over again.
func hold(times int) time.Duration {
	if times == 0 {
		return 0
	}
	return min(firstHold<<min(times-1, 8), maxHold)
}

// note is what a target has been told after changes were delivered at now.
func note(told []Told, changes []change, now time.Time) []Told {
	out := slices.DeleteFunc(slices.Clone(told), func(t Told) bool { return !t.Over.IsZero() && now.Sub(t.Over) > overKept })
	for _, c := range changes {
		i := slices.IndexFunc(out, func(t Told) bool { return t.Ref() == c.finding.Ref() })
		switch {
		case c.kind == isOver && i >= 0:
			out[i].Over, out[i].Times = now, out[i].Times+1
		case c.kind == isOver:
		case i >= 0:
			out[i].Severity, out[i].Title, out[i].Over = c.finding.Severity, c.finding.Title, time.Time{}
			if c.kind == isNew {
				out[i].At = now
			}
		default:
			out = append(out, Told{Code: c.finding.Code, Subject: c.finding.Subject, Severity: c.finding.Severity, Title: c.finding.Title, At: now})
		}
	}
	if over := len(out) - maxTold; over > 0 {
		out = slices.Delete(out, 0, over)
	}
	return out
}
