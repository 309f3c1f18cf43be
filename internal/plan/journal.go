package plan

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// JournalVersion is the format of journal files that this build writes.
const JournalVersion = 1

// Journal keeps entries as one append-only file each, readable by root only since they hold what undo needs.
type Journal struct {
	dir string
	now func() time.Time
	// Fields so that tests can make them fail.
	open    openFile
	syncDir func(dir string) error
	max     int64
}

// NewJournal returns the journal in dir. The directory is made by the first entry, so that a labd that only reads
// needs no place to write.
func NewJournal(dir string, now func() time.Time) *Journal {
	return &Journal{dir: dir, now: now, open: openOSFile, syncDir: syncDir, max: maxEntry}
}

// An entry's file is named by its number; newSuffix follows while its beginning is written.
const (
	entrySuffix = ".jsonl"
	newSuffix   = ".new"
)

func (j *Journal) file(id string) string { return filepath.Join(j.dir, id+entrySuffix) }

// nextID is the number after the highest that is taken, readable or not.
func (j *Journal) nextID() (string, error) {
	ids, err := j.ids()
	if err != nil {
		return "", err
	}
	next := 1
	if len(ids) > 0 {
		next = ids[len(ids)-1] + 1
	}
	return strconv.Itoa(next), nil
}

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
		if n, _ := strconv.Atoi(name); ok && n > 0 && strconv.Itoa(n) == name {
			ids = append(ids, n)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// ErrNoEntry says that the journal has no entry of that id.
var ErrNoEntry = errors.New("no such journal entry")

// Entry returns the entry of id, as its own file tells it. It fails with ErrNoEntry or an *UnreadableError.
func (j *Journal) Entry(id string) (*Entry, error) {
	if n, _ := strconv.Atoi(id); strconv.Itoa(n) != id { // no number, or written in another way
		return nil, fmt.Errorf("journal entry %q: %w", id, ErrNoEntry)
	}
	data, err := j.read(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("journal entry %s: %w", id, ErrNoEntry)
	}
	if err != nil {
		return nil, &UnreadableError{ID: id, Err: err}
	}
	return parseEntry(id, data)
}

// read returns the content of an entry's file, of max bytes at most.
func (j *Journal) read(id string) ([]byte, error) {
	f, err := os.Open(j.file(id))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, j.max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > j.max {
		return nil, fmt.Errorf("it is larger than %d bytes", j.max)
	}
	return data, nil
}

// Entries returns all entries, oldest first, and why some cannot be read (each an *UnreadableError). An entry that another
// one took back says so, also where a crash came before the note. Files without a beginning are no entries.
func (j *Journal) Entries() (entries []*Entry, err error) {
	entries, unreadable, err := j.readAll()
	errs := []error{err}
	for _, u := range unreadable {
		errs = append(errs, u)
	}
	return entries, errors.Join(errs...)
}

func (j *Journal) readAll() (entries []*Entry, unreadable []*UnreadableError, err error) {
	ids, err := j.ids()
	if err != nil {
		return nil, nil, err
	}
	byID := map[string]*Entry{}
	for _, n := range ids {
		entry, err := j.Entry(strconv.Itoa(n))
		var bad *UnreadableError
		switch {
		case err == nil:
			entries = append(entries, entry)
			byID[entry.ID] = entry
		case errors.Is(err, errNoBegin), errors.Is(err, ErrNoEntry): // the latter was removed meanwhile
		case errors.As(err, &bad):
			unreadable = append(unreadable, bad)
		default:
			return nil, nil, err
		}
	}
	for _, e := range entries {
		if undone := byID[e.Undoes]; undone != nil && e.State == StateApplied {
			undone.UndoneBy, undone.State = e.ID, StateUndone
		}
	}
	return entries, unreadable, nil
}
