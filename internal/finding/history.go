package finding

import (
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// maxHistory is how many findings that are gone are remembered.
const maxHistory = 500

// Versions of the formats on disk.
const (
	HistoryVersion  = 1
	SilencesVersion = 1
)

// Record is what is remembered of a finding: when it was there. Times are wall-clock times.
type Record struct {
	Code     Code     `json:"code"`
	Subject  Subject  `json:"subject"`
	Severity Severity `json:"severity"`
	Title    string   `json:"title"`
	// First is when it was seen for the first time ever, Since when the present or last episode began, Last when it
	// was last seen, Cleared when it went away; zero while it is there.
	First   time.Time `json:"first"`
	Since   time.Time `json:"since"`
	Last    time.Time `json:"last"`
	Cleared time.Time `json:"cleared,omitzero"`
	// Episodes is how often it came.
	Episodes int `json:"episodes"`
	// Told says that it was raised, so that its end is told too, and a restart does not raise it again.
	Told bool `json:"told,omitempty"`
}

// Ref is the reference to the finding.
func (r Record) Ref() Ref { return Ref{r.Code, r.Subject} }

// takeUp begins an episode: with what is remembered of earlier ones.
func (r *Registry) takeUp(ref Ref, now time.Time) Record {
	for i, record := range r.past {
		if record.Ref() == ref {
			r.past = slices.Delete(r.past, i, i+1)
			record.Since, record.Cleared = now, time.Time{}
			record.Episodes++
			return record
		}
	}
	return Record{Code: ref.Code, Subject: ref.Subject, First: now, Since: now, Episodes: 1}
}

func (r *Registry) remember(record Record) {
	r.past = append(r.past, record)
	if over := len(r.past) - maxHistory; over > 0 {
		r.past = slices.Delete(r.past, 0, over)
	}
}

// History is everything remembered, what is there first, then what went away, the latest first.
func (r *Registry) History() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history()
}

func (r *Registry) history() []Record {
	out := make([]Record, 0, len(r.entries)+len(r.past))
	for _, e := range r.entries {
		out = append(out, e.record)
	}
	slices.SortFunc(out, func(a, b Record) int {
		if c := b.Since.Compare(a.Since); c != 0 {
			return c
		}
		if less(a.Ref(), b.Ref()) {
			return -1
		}
		return 1
	})
	for _, record := range slices.Backward(r.past) {
		out = append(out, record)
	}
	return out
}

type historyJSON struct {
	Present []Record `json:"present"`
	Past    []Record `json:"past"`
}

// restore reads what the stores remember.
func (r *Registry) restore(now time.Time) error {
	var history historyJSON
	historyErr := r.historyFile.Load(func(_ int, data []byte) error { return json.Unmarshal(data, &history) })
	for _, record := range history.Present {
		// A clock that was wrong then must not put a finding into the future.
		record.Since, record.First = notAfter(record.Since, now), notAfter(record.First, now)
		r.entries[record.Ref()] = &entry{record: record, restored: true, settled: record.Told}
	}
	for _, record := range history.Past {
		r.remember(record)
	}
	var silences silencesJSON
	silenceErr := r.silenceFile.Load(func(_ int, data []byte) error { return json.Unmarshal(data, &silences) })
	r.lastSilence = silences.Last
	for _, s := range silences.Silences {
		// What is left of it runs on the monotonic clock. A clock that was set back meanwhile does not make it longer.
		left := min(s.Until.Sub(now), s.Until.Sub(s.Created))
		s.Until = now.Add(left)
		r.silences = append(r.silences, s)
	}
	r.expire(now)
	return errors.Join(historyErr, silenceErr)
}

func notAfter(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}

// Flush writes the history where it changed.
func (r *Registry) Flush() error {
	r.mu.Lock()
	if !r.dirty {
		r.mu.Unlock()
		return nil
	}
	var history historyJSON
	for _, record := range r.history() {
		if record.Cleared.IsZero() {
			history.Present = append(history.Present, record)
		}
	}
	history.Past = slices.Clone(r.past)
	r.dirty = false
	r.mu.Unlock()
	// The disk may be slow: nobody waits for it.
	if err := r.historyFile.Save(history); err != nil {
		r.mu.Lock()
		r.dirty = true
		r.mu.Unlock()
		return err
	}
	return nil
}
