package plan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Only files that are named by a number, as labd writes it, are entries.
func TestNamesOfEntries(t *testing.T) {
	r := newRunner(t, &world{})
	j := r.Journal
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"12", "7.txt", "0.jsonl", "-1.jsonl", "007.jsonl", "x.jsonl", "+5.jsonl", "99999999999999999999.jsonl", "10.jsonl", "9.jsonl", "11.jsonl.new", "../5.jsonl"} {
		if err := os.WriteFile(filepath.Join(j.dir, name), []byte(`{"type":"begin","plan":{}}`+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := j.ids()
	if diff := cmp.Diff([]int{9, 10}, ids); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if id, err := j.nextID(); id != "11" || err != nil {
		t.Errorf("next %q, %v", id, err)
	}
	for _, id := range []string{"../5", "007", "x", "", "+5", "99999999999999999999"} {
		if _, err := j.Entry(id); !errors.Is(err, ErrNoEntry) {
			t.Errorf("entry %q: %v", id, err)
		}
	}
	// A file that vanishes between the listing and the look is no error.
	if err := os.Symlink("absent", j.file("13")); err != nil {
		t.Fatal(err)
	}
	if entries, err := j.Entries(); len(entries) != 2 || err != nil {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	// A directory in the place of one is.
	if err := os.Mkdir(j.file("14"), 0o700); err != nil {
		t.Fatal(err)
	}
	var bad *UnreadableError
	if _, err := j.Entry("14"); !errors.As(err, &bad) || !errors.Is(err, unix.EISDIR) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := r.UndoPlan("14"); !errors.As(err, &bad) || bad.ID != "14" {
		t.Errorf("undo of what cannot be read: %v", err)
	}
	// A file of the greatest size is read.
	j.max = 1000
	if err := os.Truncate(j.file("9"), 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Entry("9"); err != nil {
		t.Errorf("as large as allowed: %v", err)
	}
}

// A journal that cannot be read or made is an error for each question, and nothing runs.
func TestJournalOutOfReach(t *testing.T) {
	w := &world{on: map[string]bool{"a": true}}
	r := newRunner(t, w)
	if err := os.WriteFile(r.Journal.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Journal.ids(); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("ids: %v", err)
	}
	if _, err := r.Journal.nextID(); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("next id: %v", err)
	}
	if _, err := r.Journal.Entries(); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("entries: %v", err)
	}
	if _, err := r.UndoPlan("1"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("undo: %v", err)
	}
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a"), "test"); !errors.Is(err, unix.ENOTDIR) || !w.on["a"] {
		t.Errorf("apply: %v", err)
	}
	if _, err := r.Undo(t.Context(), "99", "d", "test"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("undo: %v", err)
	}
	if err := syncDir(filepath.Join(r.Journal.dir, "absent")); err == nil {
		t.Error("a directory that there is not can be synced")
	}
	if err := syncDir("/proc"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a directory that cannot be synced: %v", err)
	}
}

// Whatever fails while an entry begins, no step runs, no entry is left and no other one's file is touched.
func TestEachPartOfABeginningThatFails(t *testing.T) {
	other := []byte("somebody else's\n")
	for name, c := range map[string]struct {
		prepare func(t *testing.T, j *Journal)
		want    error
		left    int
	}{
		"open": {prepare: func(_ *testing.T, j *Journal) {
			j.open = func(string, int, os.FileMode) (file, error) { return nil, unix.EROFS }
		}, want: unix.EROFS},
		"what was left is in the way": {prepare: func(t *testing.T, j *Journal) {
			if err := os.MkdirAll(j.file("1")+newSuffix+"/full", 0o700); err != nil {
				t.Fatal(err)
			}
		}, want: unix.ENOTEMPTY, left: 1},
		"another labd was quicker": {prepare: func(t *testing.T, j *Journal) {
			j.open = func(name string, flag int, perm os.FileMode) (file, error) {
				if err := os.WriteFile(j.file("1"), other, 0o600); err != nil {
					t.Fatal(err)
				}
				return openOSFile(name, flag, perm)
			}
		}, want: fs.ErrExist, left: 1},
		"the directory cannot be made to last": {prepare: func(_ *testing.T, j *Journal) {
			j.syncDir = func(string) error { return unix.EIO }
		}, want: unix.EIO},
		"the other name is gone": {prepare: func(t *testing.T, j *Journal) {
			j.syncDir = func(string) error { return os.Remove(j.file("1") + newSuffix) }
		}, want: fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{on: map[string]bool{"a": true}}
			r := newRunner(t, w)
			c.prepare(t, r.Journal)
			if _, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a"), "test"); !errors.Is(err, c.want) || len(w.log) > 0 {
				t.Errorf("got %v, ran %v", err, w.log)
			}
			names, err := filepath.Glob(filepath.Join(r.Journal.dir, "*"))
			if err != nil || len(names) != c.left {
				t.Errorf("left behind: %v, %v", names, err)
			}
			if data, err := os.ReadFile(r.Journal.file("1")); err == nil && !bytes.Equal(data, other) {
				t.Errorf("an entry is left: %q", data)
			}
		})
	}
}

func TestMarkUndoneThatFails(t *testing.T) {
	w := &world{on: map[string]bool{"a": true}}
	r := newRunner(t, w)
	if err := r.Journal.markUndone("1", "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a"), "test"); err != nil {
		t.Fatal(err)
	}
	r.Journal.open = func(string, int, os.FileMode) (file, error) { return nil, unix.EROFS }
	if err := r.Journal.markUndone("1", "2"); !errors.Is(err, unix.EROFS) {
		t.Errorf("of a file that cannot be written: %v", err)
	}
}

// count is a file that only counts.
type count struct{ n int64 }

func (c *count) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }
func (c *count) Sync() error                 { return nil }
func (c *count) Truncate(size int64) error   { c.n = size; return nil }
func (c *count) Close() error                { return nil }

// A record that just fits is written, one byte more is not.
func TestEntrySizeLimit(t *testing.T) {
	now := func() time.Time { return time.Unix(0, 0) }
	c := &count{}
	w := &writer{id: "1", f: c, now: now, max: maxEntry}
	if err := w.write(record{Type: "end"}); err != nil {
		t.Fatal(err)
	}
	line := c.n
	for spare, fits := range map[int64]bool{0: true, -1: false} {
		size := maxEntry - line + (-spare)
		w := &writer{id: "1", f: &count{}, now: now, size: size, end: size, max: maxEntry}
		if err := w.write(record{Type: "end"}); (err == nil) != fits {
			t.Errorf("%d bytes to spare: %v", spare, err)
		}
	}
}

// What undo needs must be in the journal, or the step does not run: also where it cannot be written as JSON.
func TestStepWhoseStateCannotBeKept(t *testing.T) {
	r := newRunner(t, &world{})
	op := &broken{}
	r.Ops = Ops{"op": op}
	p := &Plan{Title: "T", Steps: []Step{{Op: "op", Undoable: true}}}
	if entry, err := r.Apply(t.Context(), p, "test"); err == nil || op.ran || entry == nil || entry.Steps[0].Begun {
		t.Errorf("ran %v, %+v, %v", op.ran, entry, err)
	}
}

// broken is an Op whose saved state is no JSON.
type broken struct{ ran bool }

func (o *broken) Check(context.Context, json.RawMessage) error { return nil }
func (o *broken) Capture(context.Context, json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage(`{`), nil
}

func (o *broken) Do(context.Context, json.RawMessage) error                    { o.ran = true; return nil }
func (o *broken) Verify(context.Context, json.RawMessage) error                { return nil }
func (o *broken) Undo(context.Context, json.RawMessage, json.RawMessage) error { return nil }

// An entry that was cut off says nothing of damage where there is none.
func TestInterruptedWithoutDamage(t *testing.T) {
	e, err := parseEntry("1", []byte(`{"type":"begin","v":1,"plan":{"steps":[{}]}}`+"\n"))
	if err != nil || e.State != StateInterrupted || e.Error != "" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestIsLater(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"2", "1", true}, {"1", "2", false}, {"1", "1", false}, {"10", "9", true}, {"9", "10", false}} {
		if got := isLater(c.a, c.b); got != c.want {
			t.Errorf("isLater(%s, %s) = %v", c.a, c.b, got)
		}
	}
}

// A later entry that changed nothing stands in no one's way; a step that never began needs no taking back.
func TestLaterEntryThatChangedNothing(t *testing.T) {
	w := &world{on: map[string]bool{"a": true, "b": true, "c": true}}
	r := newRunner(t, w)
	p := switches(t, "storage/n/x", "a", "b")
	p.Steps[1].Undoable = false
	w.failPre = "b"
	if _, err := r.Apply(t.Context(), p, "test"); err == nil {
		t.Fatal("the second step ran")
	}
	w.failPre = "c"
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/x", "c"), "test"); err == nil {
		t.Fatal("the step ran")
	}
	back, err := r.UndoPlan("1")
	if err != nil || len(back.Notes) != 0 {
		t.Fatalf("%+v, %v", back, err)
	}
	if _, err := undo(t, r, "1"); err != nil || !w.on["a"] {
		t.Errorf("undo: %v", err)
	}
	var refused *RefusedError
	if _, err := r.Undo(t.Context(), "2", "d", "test"); !errors.As(err, &refused) || !strings.Contains(err.Error(), "no step") {
		t.Errorf("undo of what changed nothing: %v", err)
	}
}

// Parameters and saved state that are not what the operation takes are errors, and the operation is not called.
func TestTypedDecodes(t *testing.T) {
	ctx := t.Context()
	called := ""
	op := Typed[int, string]{
		CheckFunc:   func(context.Context, int) error { called += "check "; return nil },
		CaptureFunc: func(context.Context, int) (string, error) { called += "capture "; return "s", nil },
		DoFunc:      func(context.Context, int) error { called += "do "; return nil },
		VerifyFunc:  func(context.Context, int) error { called += "verify "; return nil },
		UndoFunc:    func(_ context.Context, n int, s string) error { called += "undo " + strconv.Itoa(n) + s; return nil },
	}
	bad, good, saved := json.RawMessage(`"x"`), json.RawMessage(`7`), json.RawMessage(`"s"`)
	_, captureErr := op.Capture(ctx, bad)
	for i, err := range []error{op.Check(ctx, bad), captureErr, op.Do(ctx, bad), op.Verify(ctx, bad), op.Undo(ctx, bad, saved), op.Undo(ctx, good, good)} {
		if err == nil || !strings.Contains(err.Error(), "decode") {
			t.Errorf("%d: %v", i, err)
		}
	}
	if called != "" {
		t.Errorf("called %s", called)
	}
	if got, err := op.Capture(ctx, good); err != nil || string(got) != `"s"` {
		t.Errorf("capture: %s, %v", got, err)
	}
	if err := errors.Join(op.Check(ctx, nil), op.Do(ctx, good), op.Verify(ctx, good), op.Undo(ctx, good, saved)); err != nil || called != "capture check do verify undo 7s" {
		t.Errorf("called %s, %v", called, err)
	}
	failing := Typed[int, string]{CaptureFunc: func(context.Context, int) (string, error) { return "half", errors.New("no") }}
	if got, err := failing.Capture(ctx, good); err == nil || got != nil {
		t.Errorf("a capture that fails: %s, %v", got, err)
	}
	// What an operation does not have is not asked for, not even its parameters.
	none := Typed[int, string]{}
	if got, err := none.Capture(ctx, bad); got != nil || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if err := errors.Join(none.Check(ctx, bad), none.Verify(ctx, bad), none.Undo(ctx, bad, bad)); err != nil {
		t.Error(err)
	}
}

func TestOpsAdd(t *testing.T) {
	op := &broken{}
	ops := Ops{"a": op}
	if err := ops.Add(Ops{"b": op}); err != nil || len(ops) != 2 {
		t.Errorf("%v, %v", ops, err)
	}
	if err := ops.Add(Ops{"a": nil}); err == nil || ops["a"] != op {
		t.Errorf("the same name twice: %v", err)
	}
}

func TestWhatCannotBeEncoded(t *testing.T) {
	if _, err := NewStep("op", make(chan int), Step{}); err == nil {
		t.Error("a channel is a parameter")
	}
	if _, err := Digest(make(chan int)); err == nil {
		t.Error("a channel has a digest")
	}
	if text, err := json.Marshal(Set(nil)); err != nil || string(text) != "[]" {
		t.Errorf("%s, %v", text, err)
	}
}

func TestErrorTexts(t *testing.T) {
	if got := (&RefusedError{Reason: "r"}).Error(); got != "refused: r" {
		t.Error(got)
	}
	if got := (&RefusedError{Reason: "r", Subject: "storage/n/x"}).Error(); got != "refused for storage/n/x: r" {
		t.Error(got)
	}
	if _, err := AcquireLock(filepath.Join(t.TempDir(), "absent", "lock")); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrLocked) {
		t.Errorf("a lock that cannot be made: %v", err)
	}
}
