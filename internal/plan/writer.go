package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

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

// maxEntry is the most that one entry's file may hold, in bytes. A plan saves files of PVE, of 1 MiB at most each.
const maxEntry = 64 << 20

// file is what a writer needs of an *os.File.
type file interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// openFile is how a Journal opens files that it writes.
type openFile func(name string, flag int, perm os.FileMode) (file, error)

func openOSFile(name string, flag int, perm os.FileMode) (file, error) {
	return os.OpenFile(name, flag, perm)
}

// writer appends records to one entry, each on disk before write returns. A record that could not be written whole is cut
// off again, so that the next one does not become a part of it.
type writer struct {
	id  string
	f   file
	now func() time.Time
	// size is where the last whole record ends, end where the file does: what lies between is torn. max bounds it.
	size, end, max int64
}

func (w *writer) write(r record) error {
	if err := w.append(r); err != nil {
		return fmt.Errorf("write journal entry %s: %w", w.id, err)
	}
	return nil
}

func (w *writer) append(r record) error {
	r.Time = w.now().UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if w.cut(); w.end > w.size {
		// It cannot be cut off, so it becomes a line of its own.
		line = append([]byte("\n"), line...)
	}
	if w.end+int64(len(line)) > w.max {
		return fmt.Errorf("it would be larger than %d bytes", w.max)
	}
	n, err := w.f.Write(line)
	w.end += int64(n)
	if err == nil {
		err = w.f.Sync()
	}
	if err != nil {
		w.cut()
		return err
	}
	w.size = w.end
	return nil
}

// cut takes off what is torn, if the disk lets it.
func (w *writer) cut() {
	if w.end > w.size && w.f.Truncate(w.size) == nil {
		w.end = w.size
	}
}

// begin makes a new entry; its id is the next number. The file gets the entry's name when its first record is on disk.
func (j *Journal) begin(p *Plan, actor, undoes string) (_ *writer, err error) {
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return nil, fmt.Errorf("begin a journal entry: %w", err)
	}
	id, err := j.nextID()
	if err != nil {
		return nil, err
	}
	path := j.file(id)
	made := []string{path + newSuffix}
	// What a labd that was killed right here left behind; it may be another name of an entry, so it is not reused.
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("begin journal entry %s: %w", id, err)
	}
	f, err := j.open(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin journal entry %s: %w", id, err)
	}
	defer func() {
		// Nothing has been done yet, so an entry that could not be begun is no entry.
		if err != nil {
			err = errors.Join(err, f.Close())
			for _, name := range made {
				err = errors.Join(err, os.Remove(name))
			}
		}
	}()
	w := &writer{id: id, f: f, now: j.now, max: j.max}
	if err := w.write(record{Type: "begin", V: JournalVersion, Actor: actor, Plan: p, Undo: undoes}); err != nil {
		return nil, err
	}
	if err := os.Link(path+newSuffix, path); err != nil { // unlike rename(2), never over another entry
		return nil, fmt.Errorf("begin journal entry %s: %w", id, err)
	}
	made = append(made, path)
	if err := j.syncDir(j.dir); err != nil {
		return nil, err
	}
	if err := os.Remove(path + newSuffix); err != nil {
		return nil, fmt.Errorf("begin journal entry %s: %w", id, err)
	}
	return w, nil
}

// markUndone notes in entry id that entry by took it back. What a crash cut off at the end goes first.
func (j *Journal) markUndone(id, by string) error {
	data, err := j.read(id)
	if err != nil {
		return fmt.Errorf("mark journal entry %s as undone: %w", id, err)
	}
	f, err := j.open(j.file(id), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("mark journal entry %s as undone: %w", id, err)
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	w := &writer{id: id, f: f, now: j.now, size: int64(whole), end: int64(len(data)), max: j.max}
	return errors.Join(w.write(record{Type: "undone", By: by}), f.Close())
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
