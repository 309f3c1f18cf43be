package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"labd/internal/finding"
)

// State is how far a journal entry got.
type State string

// States. An entry without an end record was cut off: by a crash, or it is running now.
const (
	StateApplied     State = "applied"
	StateFailed      State = "failed"
	StateInterrupted State = "interrupted"
	StateUndone      State = "undone"
)

// StepState is what the journal knows of one step.
type StepState struct {
	// Begun says that the step's intent is on disk: it may have run. Done says that it ran and was verified.
	Begun, Done bool
	Saved       json.RawMessage
	Error       string
	// BegunAt and EndedAt are when the step began and when it was verified or failed; zero where it did not.
	BegunAt, EndedAt time.Time
}

// Entry is one plan that was carried out, wholly or in part.
type Entry struct {
	ID    string
	Time  time.Time
	Actor string
	Plan  Plan
	// Undoes is the id of the entry that this one takes back, or "".
	Undoes string
	Steps  []StepState
	State  State
	Error  string
	// EndedAt is zero while there is no end record.
	EndedAt time.Time
	// UndoneBy is the id of the entry that took this one back, or "".
	UndoneBy string
	// Damaged is how many lines of the record cannot be read. A line that was cut off while it was written counts: what
	// it would have said did not happen, since labd goes on only after a line is on disk.
	Damaged int
}

// StepsDone is how many steps ran and were verified.
func (e *Entry) StepsDone() int {
	n := 0
	for _, s := range e.Steps {
		if s.Done {
			n++
		}
	}
	return n
}

// UnreadableError says that an entry of the journal cannot be read: it is damaged or of a newer labd's format. Subjects
// are what it touched, as far as that can be told.
type UnreadableError struct {
	ID       string
	Subjects []finding.Subject
	Err      error
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("read journal entry %s: %v", e.ID, e.Err)
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// errNoBegin says that a file holds no complete first line. The plan comes first, on disk before anything else happens,
// so such an entry touched nothing.
var errNoBegin = errors.New("it has no beginning, so it changed nothing")

// parseEntry reads an entry's file. A last line without its end was cut off by a crash and is ignored. A line in the
// middle that cannot be read, as a full disk leaves it, is counted in Damaged. It fails with an *UnreadableError where
// the first line cannot be read.
func parseEntry(id string, data []byte) (*Entry, error) {
	e := &Entry{ID: id}
	first := true
	for line := range bytes.Lines(data) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var r record
		err := json.Unmarshal(line, &r)
		switch {
		case first:
			if err == nil {
				err = e.begin(r)
			}
			if err != nil {
				return nil, &UnreadableError{ID: id, Subjects: subjectsOf(line), Err: err}
			}
			first = false
		case len(bytes.TrimSpace(line)) == 0: // it ends a line that was cut off
		case err != nil || e.add(r) != nil:
			e.Damaged++
		}
	}
	if first {
		return nil, &UnreadableError{ID: id, Err: errNoBegin}
	}
	if e.State == "" {
		e.State = StateInterrupted
		if e.Damaged > 0 {
			e.Error = fmt.Sprintf("%d lines of its record cannot be read, as after a full disk", e.Damaged)
		}
	}
	if e.UndoneBy != "" {
		e.State = StateUndone
	}
	return e, nil
}

// subjectsOf reads the subjects of a plan from the first line of an entry whose format is not known.
func subjectsOf(line []byte) []finding.Subject {
	var begin struct {
		Plan struct {
			Subjects []finding.Subject `json:"subjects"`
		} `json:"plan"`
	}
	_ = json.Unmarshal(line, &begin) // whatever it can read helps
	return begin.Plan.Subjects
}

func (e *Entry) begin(r record) error {
	switch {
	case r.V > JournalVersion:
		return fmt.Errorf("format %d is newer than this labd knows (%d)", r.V, JournalVersion)
	case r.Type != "begin" || r.Plan == nil:
		return errors.New("its first line is not the beginning of an entry")
	}
	e.Time, e.Actor, e.Plan, e.Undoes = r.Time, r.Actor, *r.Plan, r.Undo
	e.Steps = make([]StepState, len(r.Plan.Steps))
	return nil
}

// add takes in a record after the first; an error leaves e as it was.
func (e *Entry) add(r record) error {
	switch r.Type {
	case "intent", "done", "fail":
		if r.Step < 0 || r.Step >= len(e.Steps) {
			return fmt.Errorf("step %d of %d", r.Step, len(e.Steps))
		}
		step := &e.Steps[r.Step]
		switch r.Type {
		case "intent":
			step.Begun, step.Saved, step.BegunAt = true, r.Saved, r.Time
		case "done":
			step.Done, step.EndedAt = true, r.Time
		case "fail":
			step.Error, step.EndedAt = r.Error, r.Time
		}
	case "end":
		e.State, e.Error, e.EndedAt = r.State, r.Error, r.Time
	case "undone":
		e.UndoneBy = r.By
	default:
		return fmt.Errorf("unknown record %q", r.Type)
	}
	return nil
}
