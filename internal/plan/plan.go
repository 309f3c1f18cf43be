package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"labd/internal/finding"
)

// Step is one change of the host. The words are for a person; Op and Params are what runs.
type Step struct {
	// Title says in one sentence what the step does.
	Title string `json:"title"`
	// How, Verified and Undone say how it is done, checked and taken back.
	How      string       `json:"how"`
	Verified string       `json:"verified"`
	Undone   string       `json:"undone,omitempty"`
	Risk     finding.Risk `json:"risk"`
	Undoable bool         `json:"undoable"`
	// Op names the operation that runs the step, Params are its arguments as JSON.
	Op     string          `json:"op"`
	Params json.RawMessage `json:"params"`
}

// NewStep fills in Op and Params; params must be a value that encoding/json can write.
func NewStep(op string, params any, words Step) (Step, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return Step{}, fmt.Errorf("encode parameters of step %s: %w", op, err)
	}
	words.Op, words.Params = op, raw
	return words, nil
}

// Plan is what labd would do, and the digest of the facts that made it so.
type Plan struct {
	Title    string            `json:"title"`
	Subjects []finding.Subject `json:"subjects"`
	Steps    []Step            `json:"steps"`
	Notes    []string          `json:"notes,omitempty"`
	// Digest is made by Digest from the facts that the plan's guards read.
	Digest string `json:"digest"`
}

// Digest is the SHA-256 (hex) of the canonical JSON of facts: object keys sorted, sets as Set. Facts must not hold
// times or file bytes, which change without a change of meaning.
func Digest(facts any) (string, error) {
	raw, err := json.Marshal(facts)
	if err != nil {
		return "", fmt.Errorf("digest of the plan's facts: %w", err)
	}
	// Through a generic value, so that field order in Go does not matter.
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return "", fmt.Errorf("digest of the plan's facts: %w", err)
	}
	canonical, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("digest of the plan's facts: %w", err)
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}

// Set is a list whose order and repetitions mean nothing, as PVE's node lists; its JSON is sorted and unique.
type Set []string

// MarshalJSON writes the set as a sorted list.
func (s Set) MarshalJSON() ([]byte, error) {
	sorted := slices.Clone([]string(s))
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	if sorted == nil {
		sorted = []string{}
	}
	return json.Marshal(sorted)
}

// RefusedError says that a safety guard forbids a plan or a step. Hint is what a person can do.
type RefusedError struct {
	Subject finding.Subject
	Reason  string
	Hint    string
}

func (e *RefusedError) Error() string {
	if e.Subject == "" {
		return "refused: " + e.Reason
	}
	return fmt.Sprintf("refused for %s: %s", e.Subject, e.Reason)
}

// ChangedError says that the facts are no longer those that the plan was made from; nothing was touched.
type ChangedError struct{ What string }

func (e *ChangedError) Error() string {
	return "the state changed since the plan was made: " + e.What
}
