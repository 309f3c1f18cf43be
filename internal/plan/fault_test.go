package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"labd/internal/finding"
)

// disk is where a journal writes in these tests. It takes room bytes; from the write on that has no room left, the letters say
// what becomes of each write ('x' is cut off, 's' is whole but cannot be made to last) and of each cut ('x' fails), and all is
// well after the last letter.
type disk struct {
	room         int
	writes, cuts string
	full         bool
	failed       bool
}

type diskFile struct {
	file
	disk *disk
}

func (d *disk) open(name string, flag int, perm os.FileMode) (file, error) {
	f, err := openOSFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &diskFile{f, d}, nil
}

// next takes the first letter off.
func next(letters *string) byte {
	if *letters == "" {
		return '.'
	}
	letter := (*letters)[0]
	*letters = (*letters)[1:]
	return letter
}

func (f *diskFile) Write(p []byte) (int, error) {
	d := f.disk
	room := d.room
	d.room -= len(p)
	d.full = d.full || d.room < 0
	d.failed = false
	if !d.full {
		return f.file.Write(p)
	}
	switch next(&d.writes) {
	case 'x':
		if room < 0 || room > len(p) {
			room = len(p) / 2
		}
		n, err := f.file.Write(p[:room])
		return n, errors.Join(err, &os.PathError{Op: "write", Err: unix.ENOSPC})
	case 's':
		d.failed = true
	}
	return f.file.Write(p)
}

func (f *diskFile) Sync() error {
	if f.disk.failed {
		return &os.PathError{Op: "sync", Err: unix.EIO}
	}
	return nil // thousands of journals; none of them must survive the machine
}

func (f *diskFile) Truncate(size int64) error {
	if next(&f.disk.cuts) == 'x' {
		return &os.PathError{Op: "truncate", Err: unix.EIO}
	}
	return f.file.Truncate(size)
}

// well opens files on a disk that never fails.
func well(name string, flag int, perm os.FileMode) (file, error) {
	return (&disk{room: maxEntry}).open(name, flag, perm)
}

// stride is how many bytes are between two tries; some are left out in a short run.
func stride() int {
	switch {
	case raceEnabled:
		return 23
	case testing.Short():
		return 5
	}
	return 1
}

// A disk that fails at any byte of the journal, for a while or for good, costs no undo: no step runs whose intent cannot be
// read afterwards, and undo brings the old state back.
func TestJournalOnADiskThatFailsAtEveryByte(t *testing.T) {
	const all = "xxxxxxxxxxxxxxxx"
	for _, mode := range []disk{
		{writes: "x"},
		{writes: "xx"},
		{writes: all},
		{writes: "s"},
		{writes: "ss"},
		{writes: "x.x"},
		{writes: "xs"},
		{writes: "x", cuts: "x"},
		{writes: "x", cuts: "xx"},
		{writes: "xx", cuts: "xx"},
		{writes: all, cuts: all},
		{writes: all, cuts: "x"},
		{writes: "s", cuts: "x"},
		{writes: "s", cuts: "xx"},
		{writes: "x.x", cuts: "xx"},
		{writes: "xs", cuts: "xx"},
		{writes: "sx", cuts: "xxx"},
	} {
		t.Run(fmt.Sprintf("writes %s, cuts %s", mode.writes, mode.cuts), func(t *testing.T) {
			for room := 0; ; room += stride() {
				d := mode
				d.room = room
				if whole := applyOn(t, &d); whole {
					if room < 500 {
						t.Fatalf("the whole journal took %d bytes", room)
					}
					break
				}
			}
		})
	}
}

// applyOn applies a plan on the disk, undoes it on one that is well again, and checks both. It reports whether the disk
// held out.
func applyOn(t *testing.T, d *disk) (whole bool) {
	t.Helper()
	room, cuts := d.room, d.cuts
	w := &world{on: map[string]bool{"a": true, "b": true}}
	r := newRunner(t, w)
	r.Journal.open = d.open
	_, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a", "b"), "test")
	whole = !d.full
	if whole != (err == nil) {
		t.Fatalf("room for %d bytes, disk %+v: error %v", room, d, err)
	}
	ran := slices.Clone(w.log)
	r.Journal.open = well
	entries, err := r.Journal.Entries()
	if err != nil {
		t.Fatalf("room for %d bytes: the journal cannot be read: %v", room, err)
	}
	if len(entries) == 0 {
		if len(ran) > 0 {
			t.Fatalf("room for %d bytes: %v without an entry", room, ran)
		}
		return whole
	}
	if entries[0].Damaged > 0 && cuts == "" {
		t.Fatalf("room for %d bytes: %d lines are damaged where they could be cut off", room, entries[0].Damaged)
	}
	for i, name := range []string{"a", "b"} {
		step := entries[0].Steps[i]
		if slices.Contains(ran, "do "+name) && (!step.Begun || string(step.Saved) != "true") {
			t.Fatalf("room for %d bytes: step %s ran, the journal says %+v", room, name, step)
		}
	}
	if len(ran) == 0 && !entries[0].Steps[0].Begun {
		return whole
	}
	if _, err := undo(t, r, "1"); err != nil || !w.on["a"] || !w.on["b"] {
		t.Fatalf("room for %d bytes: undo %v, on %v", room, err, w.on)
	}
	if again, err := r.Journal.Entry("1"); err != nil || again.State != StateUndone {
		t.Fatalf("room for %d bytes: after undo %+v, %v", room, again, err)
	}
	return whole
}

// An undo whose own journal fails at any byte can be done again, and ends in the old state.
func TestUndoOnADiskThatFailsAtEveryByte(t *testing.T) {
	for _, cuts := range []string{"", "x", "xxxx"} {
		for room := 0; ; room += stride() {
			w := &world{on: map[string]bool{"a": true, "b": true}}
			r := newRunner(t, w)
			r.Journal.open = well
			if _, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a", "b"), "test"); err != nil {
				t.Fatal(err)
			}
			d := &disk{room: room, writes: "xx", cuts: cuts}
			r.Journal.open = d.open
			_, err := undo(t, r, "1")
			if err == nil {
				break
			}
			r.Journal.open = well
			entries, err := r.Journal.Entries()
			if err != nil {
				t.Fatalf("room for %d bytes: %v", room, err)
			}
			for i, name := range []string{"b", "a"} {
				if slices.Contains(w.log, "undo "+name) && (len(entries) < 2 || !entries[1].Steps[i].Begun) {
					t.Fatalf("room for %d bytes: %s was taken back, the journal does not know", room, name)
				}
			}
			// An undo that came to its end is known as one although the note in the first entry is missing.
			ended := len(entries) == 2 && entries[1].State == StateApplied
			if ended != (entries[0].State == StateUndone) {
				t.Fatalf("room for %d bytes: the entry is %s, its undo %+v", room, entries[0].State, entries[len(entries)-1])
			}
			if _, err := undo(t, r, "1"); (err != nil) != ended || !w.on["a"] || !w.on["b"] {
				t.Fatalf("room for %d bytes: second undo %v, on %v", room, err, w.on)
			}
		}
	}
}

// What a former labd left when its disk was full: the next record behind a torn one, in one line.
func TestEntryWithATornLine(t *testing.T) {
	begin := `{"type":"begin","time":"2026-11-01T10:00:00Z","v":1,"plan":{"title":"t","subjects":["storage/n/x"],"steps":[{"op":"switch-off","params":"a","undoable":true},{"op":"switch-off","params":"b","undoable":true}],"digest":"d"}}` + "\n"
	intent := `{"type":"intent","step":0,"saved":true}` + "\n"
	for name, rest := range map[string]string{
		"glued":             `{"type":"do{"type":"fail","error":"no space"}` + "\n" + `{"type":"end","state":"failed"}` + "\n",
		"a line of its own": `{"type":"do` + "\n" + `{"type":"end","state":"failed"}` + "\n",
		"unknown record":    `{"type":"note"}` + "\n" + `{"type":"end","state":"failed"}` + "\n",
		"wrong value":       `{"type":"end","state":"applied","step":"x"}` + "\n" + `{"type":"end","state":"failed"}` + "\n",
		"step out of range": `{"type":"done","step":2}` + "\n" + `{"type":"done","step":-1}` + "\n" + `{"type":"end","state":"failed"}` + "\n",
		"second beginning":  begin + `{"type":"end","state":"failed"}` + "\n",
	} {
		e, err := parseEntry("1", []byte(begin+intent+rest))
		if err != nil || e.State != StateFailed || !e.Steps[0].Begun || e.Steps[0].Done || e.Steps[1].Begun || e.Damaged == 0 {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	e, err := parseEntry("1", []byte(begin+intent+"garbage\n"))
	if err != nil || e.State != StateInterrupted || !strings.Contains(e.Error, "1 line") {
		t.Errorf("without an end: %+v, %v", e, err)
	}
	if e, err := parseEntry("1", []byte(begin+"\n"+intent)); err != nil || e.Damaged != 0 {
		t.Errorf("an empty line is damage: %+v, %v", e, err)
	}
}

// No entry that cannot be read stands in the way of another one's undo, unless it says itself that it is about the same.
func TestUnreadableEntriesBlockNothing(t *testing.T) {
	newer := func(subject string) string {
		return `{"type":"begin","v":2,"plan":{"subjects":["` + subject + `"],"more":{}}}` + "\n"
	}
	for name, c := range map[string]struct {
		file, text string
		refused    string
		note       bool
	}{
		"empty, killed after its creation":   {file: "2", text: ""},
		"first line cut off":                 {file: "2", text: `{"type":"begin","v":1,"pl`},
		"garbage":                            {file: "2", text: "\x00\x00\x00\n", note: true},
		"no beginning":                       {file: "2", text: `{"type":"end"}` + "\n", note: true},
		"a newer format":                     {file: "2", text: newer("storage/n/y")},
		"a newer format, the same subject":   {file: "2", text: newer("storage/n/x"), refused: "entry 2"},
		"a newer format, much later":         {file: "10", text: newer("storage/n/x"), refused: "entry 10"},
		"a beginning without a plan":         {file: "2", text: `{"type":"begin","v":1}` + "\n", note: true},
		"a plan without a beginning":         {file: "2", text: `{"type":"note","plan":{"steps":[{}]}}` + "\n", note: true},
		"a newer format of unknown subjects": {file: "2", text: `{"type":"begin","v":2}` + "\n", note: true},
		"garbage before it":                  {file: "0", text: "garbage\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{on: map[string]bool{"a": true, "b": true}}
			r := newRunner(t, w)
			if c.file == "0" {
				if err := os.MkdirAll(r.Journal.dir, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(r.Journal.file("1"), []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			entry, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a"), "test")
			if err != nil {
				t.Fatal(err)
			}
			p, err := r.UndoPlan(entry.ID)
			if err != nil {
				t.Fatal(err)
			}
			before := p.Digest
			if c.file != "0" {
				if err := os.WriteFile(r.Journal.file(c.file), []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p, err = r.UndoPlan(entry.ID)
			if c.refused != "" {
				var refused *RefusedError
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.refused) || refused.Hint == "" {
					t.Fatalf("got %v, want a refusal that names %s", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if noted := len(p.Notes) > 0; noted != c.note || noted != (p.Digest != before) {
				t.Errorf("notes %q, digest changed %v; want a note: %v", p.Notes, p.Digest != before, c.note)
			}
			if _, err := undo(t, r, entry.ID); err != nil || !w.on["a"] {
				t.Errorf("undo: %v", err)
			}
			entries, err := r.Journal.Entries()
			unreadable := c.note || strings.Contains(c.text, `"v":2`) || c.file == "0"
			if len(entries) != 2 || (err != nil) != unreadable {
				t.Errorf("%d entries, %v; one cannot be read: %v", len(entries), err, unreadable)
			}
			// And a further change finds a number of its own.
			if next, err := r.Apply(t.Context(), switches(t, "storage/n/z", "b"), "test"); err != nil || next.ID == c.file {
				t.Errorf("the next change: %+v, %v", next, err)
			}
		})
	}
}

// A labd that is killed while an entry begins leaves the file under its other name; neither is taken for an entry, and the
// other name is never written through.
func TestBeginningLeftBehind(t *testing.T) {
	w := &world{on: map[string]bool{"a": true, "b": true}}
	r := newRunner(t, w)
	if err := os.MkdirAll(r.Journal.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.Journal.file("1")+newSuffix, []byte(`{"type":"begin","v":1,"plan":{}}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if entries, err := r.Journal.Entries(); err != nil || len(entries) != 0 {
		t.Fatalf("entries %v, %v", entries, err)
	}
	entry, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a"), "test")
	if err != nil || entry.ID != "1" || len(entry.Steps) != 1 {
		t.Fatalf("apply: %+v, %v", entry, err)
	}
	// Killed between link and remove: both names are one file.
	if err := os.Link(r.Journal.file("1"), r.Journal.file("1")+newSuffix); err != nil {
		t.Fatal(err)
	}
	if entry, err := r.Journal.Entry("1"); err != nil || entry.State != StateApplied {
		t.Fatalf("with two names: %+v, %v", entry, err)
	}
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/y", "b"), "test"); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(r.Journal.dir, "*"))
	if err != nil || len(names) != 3 {
		t.Errorf("files %v, %v", names, err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(r.Journal.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the journal's directory: %v, %v", info.Mode(), err)
	}
}

// A failed beginning leaves nothing.
func TestBeginningThatFails(t *testing.T) {
	w := &world{on: map[string]bool{"a": true}}
	r := newRunner(t, w)
	d := &disk{room: 10, writes: "x"}
	r.Journal.open = d.open
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a"), "test"); !errors.Is(err, unix.ENOSPC) || len(w.log) > 0 {
		t.Fatalf("got %v, log %v", err, w.log)
	}
	if names, err := filepath.Glob(filepath.Join(r.Journal.dir, "*")); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

// An entry has a size that it cannot pass, written or read.
func TestEntryTooLarge(t *testing.T) {
	w := &world{on: map[string]bool{"a": true}}
	r := newRunner(t, w)
	r.Journal.max = 1000
	ops := w.ops()["switch-off"].(Typed[string, bool])
	r.Ops["large"] = Typed[string, string]{
		CaptureFunc: func(context.Context, string) (string, error) { return strings.Repeat("x", 1000), nil },
		DoFunc:      ops.DoFunc,
	}
	p := switches(t, "storage/n/x", "a")
	p.Steps[0].Op = "large"
	if _, err := r.Apply(t.Context(), p, "test"); err == nil || !strings.Contains(err.Error(), "larger than 1000 bytes") || len(w.log) > 0 {
		t.Fatalf("got %v, log %v", err, w.log)
	}
	if entry, err := r.Journal.Entry("1"); err != nil || entry.State != StateFailed || entry.Steps[0].Begun {
		t.Errorf("entry %+v, %v", entry, err)
	}
	if err := os.Truncate(r.Journal.file("1"), r.Journal.max+1); err != nil {
		t.Fatal(err)
	}
	var bad *UnreadableError
	if _, err := r.Journal.Entry("1"); !errors.As(err, &bad) || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a larger one: %v", err)
	}
}

// Two changes never run at once; nor does an undo beside a change, and Wait waits for both.
func TestOneAtATime(t *testing.T) {
	w := &world{on: map[string]bool{"a": true, "b": true, "c": true}}
	r := newRunner(t, w)
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/y", "c"), "test"); err != nil {
		t.Fatal(err)
	}
	undoDigest, err := r.UndoPlan("1")
	if err != nil {
		t.Fatal(err)
	}
	running, goOn := make(chan struct{}), make(chan struct{})
	w.during = func(string) { close(running); <-goOn }
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a"), "test"); err != nil {
			t.Error(err)
		}
	})
	<-running
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/z", "b"), "test"); !errors.Is(err, ErrBusy) {
		t.Errorf("a second change: %v", err)
	}
	if _, err := r.Undo(t.Context(), "1", undoDigest.Digest, "test"); !errors.Is(err, ErrBusy) {
		t.Errorf("an undo beside a change: %v", err)
	}
	waited := make(chan struct{})
	go func() { r.Wait(); close(waited) }()
	select {
	case <-waited:
		t.Error("Wait returned while a change runs")
	default:
	}
	close(goOn)
	group.Wait()
	<-waited
	w.during = nil
	if !w.on["b"] || w.on["c"] {
		t.Errorf("world %v", w.on)
	}
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/z", "b"), "test"); err != nil {
		t.Errorf("after it: %v", err)
	}
	if _, err := r.Undo(t.Context(), "1", undoDigest.Digest, "test"); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// recorder is an Op that fails where it is told to.
type recorder struct {
	fail string
	log  []string
}

func (o *recorder) at(what string) error {
	o.log = append(o.log, what)
	if o.fail == what {
		return errors.New(what + " fails")
	}
	return nil
}

func (o *recorder) Check(context.Context, json.RawMessage) error { return o.at("check") }
func (o *recorder) Capture(context.Context, json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage(`1`), o.at("capture")
}
func (o *recorder) Do(context.Context, json.RawMessage) error     { return o.at("do") }
func (o *recorder) Verify(context.Context, json.RawMessage) error { return o.at("verify") }
func (o *recorder) Undo(context.Context, json.RawMessage, json.RawMessage) error {
	return o.at("undo")
}

// Whatever part of a step fails, the plan ends there, its error says so, and Touched says whether there is something to undo.
func TestEachPartOfAStepThatFails(t *testing.T) {
	for _, c := range []struct {
		fail, want string
		touched    bool
	}{
		{"check", "precondition: check fails", false},
		{"capture", "save what undo needs: capture fails", false},
		{"do", "do fails", true},
		{"verify", "verify: verify fails", true},
	} {
		op := &recorder{fail: c.fail}
		r := newRunner(t, &world{})
		r.Ops = Ops{"op": op}
		p := &Plan{Title: "T", Subjects: []finding.Subject{"storage/n/x"}, Digest: "d", Steps: []Step{
			{Title: "first", Op: "op", Undoable: true}, {Title: "second", Op: "op", Undoable: true},
		}}
		entry, err := r.Apply(t.Context(), p, "test")
		var step *StepError
		if !errors.As(err, &step) || step.Touched != c.touched || step.Step != 1 || step.Of != 2 || step.Entry != "1" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v (%+v)", c.fail, err, step)
		}
		if op.log[len(op.log)-1] != c.fail {
			t.Errorf("%s: went on: %v", c.fail, op.log)
		}
		state := entry.Steps[0]
		if entry.State != StateFailed || entry.StepsDone() != 0 || state.Begun != c.touched || !strings.Contains(state.Error, c.want) || entry.Error != err.Error() {
			t.Errorf("%s: entry %+v", c.fail, entry)
		}
		_, undoErr := undo(t, r, "1")
		var refused *RefusedError
		if c.touched != (undoErr == nil) || !c.touched && !errors.As(undoErr, &refused) {
			t.Errorf("%s: undo: %v", c.fail, undoErr)
		}
	}
}

// A later step's failure says that earlier ones changed something.
func TestTouchedByEarlierSteps(t *testing.T) {
	w := &world{on: map[string]bool{"a": true, "b": true}, failPre: "b"}
	r := newRunner(t, w)
	_, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a", "b"), "test")
	var step *StepError
	if !errors.As(err, &step) || step.Step != 2 || !step.Touched {
		t.Errorf("got %v, %+v", err, step)
	}
}

// A step that cannot be undone is left out of the undo and told; one that this labd does not know stops it.
func TestUndoOfWhatCannotBe(t *testing.T) {
	w := &world{on: map[string]bool{"a": true, "b": true}}
	r := newRunner(t, w)
	p := switches(t, "storage/n/x", "a", "b")
	p.Steps[1].Undoable = false
	if _, err := r.Apply(t.Context(), p, "test"); err != nil {
		t.Fatal(err)
	}
	back, err := r.UndoPlan("1")
	if err != nil || len(back.Steps) != 1 || back.Steps[0].How != "switch on" || len(back.Notes) != 1 || !strings.Contains(back.Notes[0], "b") {
		t.Fatalf("plan %+v, %v", back, err)
	}
	ops := r.Ops
	r.Ops = Ops{}
	var step *StepError
	if _, err := r.Undo(t.Context(), "1", back.Digest, "test"); !errors.As(err, &step) || step.Touched || w.on["a"] {
		t.Errorf("an unknown operation: %v", err)
	}
	if _, err := r.Apply(t.Context(), switches(t, "storage/n/y", "a"), "test"); !errors.As(err, &step) || step.Touched {
		t.Errorf("an unknown operation: %v", err)
	}
	r.Ops = ops
	if _, err := r.Undo(t.Context(), "1", back.Digest, "test"); err != nil || !w.on["a"] || w.on["b"] {
		t.Errorf("undo: %v, on %v", err, w.on)
	}
	var refused *RefusedError
	if _, err := r.UndoPlan("4"); !errors.As(err, &refused) || !strings.Contains(err.Error(), "itself an undo") {
		t.Errorf("undo of an undo: %v", err)
	}
	if _, err := r.UndoPlan("99"); !errors.Is(err, ErrNoEntry) {
		t.Errorf("undo of nothing: %v", err)
	}
}

// An undo that fails may be tried again, and the entry stands until one came to its end.
func TestUndoThatFails(t *testing.T) {
	op := &recorder{}
	r := newRunner(t, &world{})
	r.Ops = Ops{"op": op}
	p := &Plan{Title: "T", Subjects: []finding.Subject{"storage/n/x"}, Steps: []Step{{Title: "first", Op: "op", Undoable: true}}}
	if _, err := r.Apply(t.Context(), p, "test"); err != nil {
		t.Fatal(err)
	}
	op.fail = "undo"
	var step *StepError
	if _, err := undo(t, r, "1"); !errors.As(err, &step) || !step.Touched {
		t.Fatalf("got %v", err)
	}
	entry, err := r.Journal.Entry("1")
	if err != nil || entry.State != StateApplied || entry.UndoneBy != "" {
		t.Fatalf("after a failed undo: %+v, %v", entry, err)
	}
	op.fail = ""
	if _, err := undo(t, r, "1"); err != nil {
		t.Fatal(err)
	}
	if entry, err := r.Journal.Entry("1"); err != nil || entry.State != StateUndone || entry.UndoneBy != "3" {
		t.Errorf("after undo: %+v, %v", entry, err)
	}
}

// A step that does not end is cut off by its time, not by a caller who goes away.
func TestStepTimeout(t *testing.T) {
	r := newRunner(t, &world{})
	r.StepTimeout = time.Millisecond
	r.Ops = Ops{"wait": Typed[string, string]{DoFunc: func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }}}
	p := &Plan{Title: "T", Steps: []Step{{Op: "wait"}}}
	entry, err := r.Apply(t.Context(), p, "test")
	if !errors.Is(err, context.DeadlineExceeded) || entry.State != StateFailed {
		t.Errorf("%+v, %v", entry, err)
	}
	r.StepTimeout = 0
	r.Ops = Ops{"wait": Typed[string, string]{DoFunc: func(ctx context.Context, _ string) error {
		if at, ok := ctx.Deadline(); !ok || time.Until(at) > DefaultStepTimeout || time.Until(at) < DefaultStepTimeout/2 {
			return fmt.Errorf("deadline %v", at)
		}
		return nil
	}}}
	if _, err := r.Apply(t.Context(), p, "test"); err != nil {
		t.Error(err)
	}
}
