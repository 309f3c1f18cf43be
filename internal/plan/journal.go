package plan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// JournalVersion is the format of journal files that this build writes.
const JournalVersion = 1

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

// Journal keeps entries as one append-only file each, readable by root only since they hold what undo needs.
type Journal struct {
	dir string
	now func() time.Time
}

// NewJournal returns the journal in dir. The directory is made by the first entry, so that a labd that only reads
// needs no place to write.
func NewJournal(dir string, now func() time.Time) *Journal { return &Journal{dir: dir, now: now} }

// record is one line of an entry's file.
type record struct {
	Type  string          `json:"type"` // begin, intent, done, fail, end, undone
	Time  time.Time       `json:"time"`
	V     int             `json:"v,omitempty"`
	Actor string          `json:"actor,omitempty"`
	Plan  *Plan           `json:"plan,omitempty"`
	Undo  string          `json:"undoes,omitempty"`
	Step  int             `json:"step,omitempty"`
	Saved json.RawMessage `json:"saved,omitempty"`
	State State           `json:"state,omitempty"`
	Error string          `json:"error,omitempty"`
	By    string          `json:"by,omitempty"`
}

const entrySuffix = ".jsonl"

// begin makes a new entry; its id is the next number.
func (j *Journal) begin(p *Plan, actor, undoes string) (*writer, error) {
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return nil, fmt.Errorf("begin a journal entry: %w", err)
	}
	ids, err := j.ids()
	if err != nil {
		return nil, err
	}
	next := 1
	if len(ids) > 0 {
		next = ids[len(ids)-1] + 1
	}
	id := strconv.Itoa(next)
	f, err := os.OpenFile(j.file(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin journal entry %s: %w", id, err)
	}
	w := &writer{id: id, f: f, now: j.now}
	if err := w.write(record{Type: "begin", V: JournalVersion, Actor: actor, Plan: p, Undo: undoes}); err != nil {
		// Nothing has been done yet, so an entry that could not be begun is no entry.
		return nil, errors.Join(err, f.Close(), os.Remove(j.file(id)))
	}
	if err := syncDir(j.dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// markUndone notes in entry id that entry by took it back. A last line that a crash cut off goes first: the note must not
// become a part of it.
func (j *Journal) markUndone(id, by string) error {
	data, err := os.ReadFile(j.file(id))
	if err != nil {
		return fmt.Errorf("mark journal entry %s as undone: %w", id, err)
	}
	f, err := os.OpenFile(j.file(id), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("mark journal entry %s as undone: %w", id, err)
	}
	if whole := bytes.LastIndexByte(data, '\n') + 1; whole < len(data) {
		if err := f.Truncate(int64(whole)); err != nil {
			return errors.Join(fmt.Errorf("mark journal entry %s as undone: %w", id, err), f.Close())
		}
	}
	w := &writer{id: id, f: f, now: j.now}
	return errors.Join(w.write(record{Type: "undone", By: by}), f.Close())
}

func (j *Journal) file(id string) string { return filepath.Join(j.dir, id+entrySuffix) }

// ids are the numbers of all entries, in order.
func (j *Journal) ids() ([]int, error) {
	files, err := os.ReadDir(j.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	var ids []int
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), entrySuffix)
		if n, err := strconv.Atoi(name); ok && err == nil && n > 0 && strconv.Itoa(n) == name {
			ids = append(ids, n)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// ErrNoEntry says that the journal has no entry of that id.
var ErrNoEntry = errors.New("no such journal entry")

// Entry returns the entry of id. A last line that a crash cut off is ignored.
func (j *Journal) Entry(id string) (*Entry, error) {
	if n, err := strconv.Atoi(id); err != nil || strconv.Itoa(n) != id {
		return nil, fmt.Errorf("journal entry %q: %w", id, ErrNoEntry)
	}
	data, err := os.ReadFile(j.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("journal entry %s: %w", id, ErrNoEntry)
	}
	if err != nil {
		return nil, fmt.Errorf("read journal entry %s: %w", id, err)
	}
	return parseEntry(id, data)
}

// Entries returns all entries, oldest first. Entries that cannot be read are left out and named in the error.
func (j *Journal) Entries() ([]*Entry, error) {
	ids, err := j.ids()
	if err != nil {
		return nil, err
	}
	var entries []*Entry
	var errs []error
	for _, n := range ids {
		entry, err := j.Entry(strconv.Itoa(n))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		entries = append(entries, entry)
	}
	return entries, errors.Join(errs...)
}

func parseEntry(id string, data []byte) (*Entry, error) {
	e := &Entry{ID: id}
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, len(data)+1)
	complete := bytes.LastIndexByte(data, '\n')
	offset := 0
	for scanner.Scan() {
		offset += len(scanner.Bytes()) + 1
		if offset > complete+1 {
			break // cut off in the middle of a write
		}
		var r record
		if err := json.Unmarshal(scanner.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("read journal entry %s: %w", id, err)
		}
		if err := e.add(r); err != nil {
			return nil, fmt.Errorf("read journal entry %s: %w", id, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read journal entry %s: %w", id, err)
	}
	if e.Steps == nil {
		return nil, fmt.Errorf("read journal entry %s: it has no beginning", id)
	}
	if e.State == "" {
		e.State = StateInterrupted
	}
	if e.UndoneBy != "" {
		e.State = StateUndone
	}
	return e, nil
}

func (e *Entry) add(r record) error {
	if r.Type == "begin" {
		if r.V > JournalVersion {
			return fmt.Errorf("format %d is newer than this labd knows (%d)", r.V, JournalVersion)
		}
		if r.Plan == nil || e.Steps != nil {
			return errors.New("malformed begin record")
		}
		e.Time, e.Actor, e.Plan, e.Undoes = r.Time, r.Actor, *r.Plan, r.Undo
		e.Steps = make([]StepState, len(r.Plan.Steps))
		return nil
	}
	if e.Steps == nil {
		return errors.New("it has no beginning")
	}
	switch r.Type {
	case "intent", "done", "fail":
		if r.Step < 0 || r.Step >= len(e.Steps) {
			return fmt.Errorf("step %d of %d", r.Step, len(e.Steps))
		}
		step := &e.Steps[r.Step]
		switch r.Type {
		case "intent":
			step.Begun, step.Saved = true, r.Saved
		case "done":
			step.Done = true
		case "fail":
			step.Error = r.Error
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

// writer appends records to one entry, each on disk before write returns.
type writer struct {
	id  string
	f   *os.File
	now func() time.Time
}

func (w *writer) write(r record) error {
	r.Time = w.now().UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write journal entry %s: %w", w.id, err)
	}
	if _, err := w.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write journal entry %s: %w", w.id, err)
	}
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("write journal entry %s: %w", w.id, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// Lock is held by the one labd that may apply plans on a host.
type Lock struct{ f *os.File }

// ErrLocked says that another labd holds the lock.
var ErrLocked = errors.New("another labd may apply plans on this host")

// AcquireLock takes the lock file (flock(2)) without waiting. The lock ends with the process.
func AcquireLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("take the lock %s: %w", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("take the lock %s: %w", path, ErrLocked)
		}
		return nil, fmt.Errorf("take the lock %s: %w", path, err)
	}
	return &Lock{f}, nil
}

// Release gives the lock up.
func (l *Lock) Release() error { return l.f.Close() }
