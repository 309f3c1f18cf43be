package finding

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxSilence is the longest that a silence may last: one that never ends is a finding that nobody will see again.
const MaxSilence = 366 * 24 * time.Hour

// maxSilences bounds what is kept.
const maxSilences = 200

// Silence keeps findings out of sight until a time. Code or Subject or both are given; a subject may be a pattern, in
// which * stands for any text without a slash.
type Silence struct {
	ID      string    `json:"id"`
	Code    Code      `json:"code,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Reason  string    `json:"reason"`
	Actor   string    `json:"actor"`
	Created time.Time `json:"created"`
	Until   time.Time `json:"until"`
}

// SilenceError says what is wrong with a silence that somebody asked for.
type SilenceError struct{ Reason string }

func (e *SilenceError) Error() string { return e.Reason }

// ErrNoSilence says that there is no silence of that id.
var ErrNoSilence = errors.New("no such silence")

func (s Silence) covers(ref Ref) bool {
	if s.Code != "" && s.Code != ref.Code {
		return false
	}
	if s.Subject == "" {
		return true
	}
	ok, err := path.Match(s.Subject, string(ref.Subject))
	return s.Subject == string(ref.Subject) || (err == nil && ok)
}

// check refuses what could never match, and what would silence everything.
func (s Silence) check(duration time.Duration) error {
	kind, name, _ := strings.Cut(s.Subject, "/")
	known := slices.ContainsFunc(Defs(), func(d Def) bool { return d.Code == s.Code })
	switch {
	case s.Code == "" && s.Subject == "":
		return &SilenceError{"a silence takes a finding's code, a subject or both"}
	case s.Code != "" && !known:
		return &SilenceError{fmt.Sprintf("%q is not the code of a finding", s.Code)}
	case s.Subject != "" && (!slices.Contains(Kinds(), Kind(kind)) || name == ""):
		return &SilenceError{fmt.Sprintf("%q is not a subject; one looks like storage/pve1/usb1", s.Subject)}
	case duration <= 0 || duration > MaxSilence:
		return &SilenceError{fmt.Sprintf("a silence lasts more than nothing and at most %d days", int(MaxSilence.Hours()/24))}
	case strings.TrimSpace(s.Reason) == "":
		return &SilenceError{"a silence takes a reason, so that it can be understood later"}
	}
	if _, err := path.Match(s.Subject, ""); err != nil {
		return &SilenceError{fmt.Sprintf("%q is not a subject or pattern", s.Subject)}
	}
	return nil
}

// Silence adds a silence for duration from now and puts it on disk first.
func (r *Registry) Silence(now time.Time, s Silence, duration time.Duration) (Silence, error) {
	if err := s.check(duration); err != nil {
		return Silence{}, err
	}
	r.editing.Lock()
	defer r.editing.Unlock()
	list, last := r.silencesNow(now)
	if len(list) >= maxSilences {
		return Silence{}, &SilenceError{fmt.Sprintf("there are %d silences already; remove some", maxSilences)}
	}
	s.ID, s.Created, s.Until = strconv.Itoa(last+1), now, now.Add(duration)
	return s, r.storeSilences(now, last+1, append(list, s))
}

// Unsilence removes the silence of id.
func (r *Registry) Unsilence(now time.Time, id string) (Silence, error) {
	r.editing.Lock()
	defer r.editing.Unlock()
	list, last := r.silencesNow(now)
	i := slices.IndexFunc(list, func(s Silence) bool { return s.ID == id })
	if i < 0 {
		return Silence{}, fmt.Errorf("silence %q: %w", id, ErrNoSilence)
	}
	s := list[i]
	return s, r.storeSilences(now, last, slices.Delete(list, i, i+1))
}

// silencesNow are a copy of the silences in force, and the last id given.
func (r *Registry) silencesNow(now time.Time) (list []Silence, last int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	return slices.Clone(r.silences), r.lastSilence
}

// storeSilences puts silences on disk, and then in force. The jobs do not wait for the disk, only who edits does.
func (r *Registry) storeSilences(now time.Time, last int, list []Silence) error {
	if err := r.silenceFile.Save(silencesJSON{last, list}); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silences, r.lastSilence = list, last
	r.evaluate(now)
	return nil
}

// Silences are those in force, in the order in which they end.
func (r *Registry) Silences(now time.Time) []Silence {
	list, _ := r.silencesNow(now)
	slices.SortStableFunc(list, func(a, b Silence) int { return a.Until.Compare(b.Until) })
	return list
}

func (r *Registry) expire(now time.Time) {
	r.silences = slices.DeleteFunc(r.silences, func(s Silence) bool { return !s.Until.After(now) })
}

// silenceOf returns the silence of ref that lasts longest, or nil.
func (r *Registry) silenceOf(ref Ref, now time.Time) *Silence {
	var best *Silence
	for i, s := range r.silences {
		if s.covers(ref) && s.Until.After(now) && (best == nil || s.Until.After(best.Until)) {
			best = &r.silences[i]
		}
	}
	if best == nil {
		return nil
	}
	s := *best
	return &s
}

type silencesJSON struct {
	Last     int       `json:"last"`
	Silences []Silence `json:"silences"`
}
