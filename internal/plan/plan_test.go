package plan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labd/internal/finding"
)

// world is a host of named switches that steps turn off.
type world struct {
	on      map[string]bool
	failDo  string
	failPre string
	log     []string
	during  func(name string)
}

func (w *world) ops() Ops {
	return Ops{"switch-off": Typed[string, bool]{
		CheckFunc: func(_ context.Context, name string) error {
			if name == w.failPre {
				return &RefusedError{Subject: finding.Subject(name), Reason: "in use"}
			}
			return nil
		},
		CaptureFunc: func(_ context.Context, name string) (bool, error) { return w.on[name], nil },
		DoFunc: func(ctx context.Context, name string) error {
			w.log = append(w.log, "do "+name)
			if w.during != nil {
				w.during(name)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			w.on[name] = false
			if name == w.failDo {
				return errors.New("stuck")
			}
			return nil
		},
		VerifyFunc: func(_ context.Context, name string) error {
			if w.on[name] {
				return errors.New("still on")
			}
			return nil
		},
		UndoFunc: func(_ context.Context, name string, was bool) error {
			w.log = append(w.log, "undo "+name)
			w.on[name] = was
			return nil
		},
	}}
}

func switches(t *testing.T, subject finding.Subject, names ...string) *Plan {
	t.Helper()
	p := &Plan{Title: "Switch off", Subjects: []finding.Subject{subject}, Digest: "d"}
	for _, name := range names {
		step, err := NewStep("switch-off", name, Step{Title: name, Undone: "switch on", Risk: finding.RiskLow, Undoable: true})
		if err != nil {
			t.Fatal(err)
		}
		p.Steps = append(p.Steps, step)
	}
	return p
}

func newRunner(t *testing.T, w *world) *Runner {
	t.Helper()
	return &Runner{Journal: NewJournal(filepath.Join(memory(t), "journal"), time.Now), Ops: w.ops()}
}

// memory is a directory in memory, where there is one: some tests write thousands of journals.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "labd-plan-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func undo(t *testing.T, r *Runner, id string) (*Entry, error) {
	t.Helper()
	p, err := r.UndoPlan(id)
	if err != nil {
		return nil, err
	}
	return r.Undo(t.Context(), id, p.Digest, "test")
}

func TestApplyAndUndo(t *testing.T) {
	w := &world{on: map[string]bool{"a": true, "b": false, "c": true}}
	r := newRunner(t, w)
	entry, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a", "b", "c"), "uid 0")
	if err != nil || entry.State != StateApplied || entry.StepsDone() != 3 || entry.EndedAt.IsZero() {
		t.Fatalf("apply: %+v, %v", entry, err)
	}
	undone, err := undo(t, r, entry.ID)
	if err != nil || undone.Undoes != entry.ID {
		t.Fatalf("undo: %+v, %v", undone, err)
	}
	if diff := cmp.Diff(map[string]bool{"a": true, "b": false, "c": true}, w.on); diff != "" {
		t.Errorf("after undo, -want +got:\n%s", diff)
	}
	want := []string{"do a", "do b", "do c", "undo c", "undo b", "undo a"}
	if diff := cmp.Diff(want, w.log); diff != "" {
		t.Errorf("order, -want +got:\n%s", diff)
	}
	var refused *RefusedError
	if _, err := undo(t, r, entry.ID); !errors.As(err, &refused) {
		t.Errorf("second undo: %v, want a refusal", err)
	}
}

func TestApplyStopsAtTheFirstFailure(t *testing.T) {
	w := &world{on: map[string]bool{"a": true, "b": true, "c": true}, failDo: "b"}
	r := newRunner(t, w)
	entry, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a", "b", "c"), "test")
	var step *StepError
	if !errors.As(err, &step) || step.Step != 2 || !step.Touched || entry.State != StateFailed || !w.on["c"] {
		t.Fatalf("entry %+v, error %v", entry, err)
	}
	// Step b began, so undo takes it back too although it failed.
	if _, err := undo(t, r, entry.ID); err != nil || !w.on["a"] || !w.on["b"] {
		t.Errorf("after undo: %v, %v", w.on, err)
	}
}

func TestPreconditionLeavesTheHostUntouched(t *testing.T) {
	w := &world{on: map[string]bool{"a": true}, failPre: "a"}
	r := newRunner(t, w)
	_, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a"), "test")
	var step *StepError
	var refused *RefusedError
	if !errors.As(err, &step) || step.Touched || !errors.As(err, &refused) || !w.on["a"] {
		t.Errorf("got %v, on %v", err, w.on)
	}
}

func TestInterruptFinishesTheRunningStep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &world{on: map[string]bool{"a": true, "b": true}}
	w.during = func(string) { cancel() }
	r := newRunner(t, w)
	entry, err := r.Apply(ctx, switches(t, "storage/n/x", "a", "b"), "test")
	if !errors.Is(err, context.Canceled) || entry.State != StateInterrupted || w.on["a"] || !w.on["b"] {
		t.Fatalf("entry %+v, on %v, %v", entry, w.on, err)
	}
	if _, err := undo(t, r, entry.ID); err != nil || !w.on["a"] {
		t.Errorf("undo after the interrupt: %v, on %v", err, w.on)
	}
}

func TestUndoRefusedAfterALaterEntry(t *testing.T) {
	w := &world{on: map[string]bool{"a": true, "b": true, "c": true}}
	r := newRunner(t, w)
	first, err1 := r.Apply(t.Context(), switches(t, "storage/n/x", "a"), "test")
	other, err2 := r.Apply(t.Context(), switches(t, "storage/n/y", "b"), "test")
	later, err3 := r.Apply(t.Context(), switches(t, "storage/n/x", "c"), "test")
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if _, err := undo(t, r, first.ID); err == nil || !strings.Contains(err.Error(), "entry "+later.ID) {
		t.Errorf("undo below a later entry: %v", err)
	}
	for _, id := range []string{other.ID, later.ID, first.ID} {
		if _, err := undo(t, r, id); err != nil {
			t.Errorf("undo %s: %v", id, err)
		}
	}
}

func TestUndoChecksTheDigest(t *testing.T) {
	w := &world{on: map[string]bool{"a": true}}
	r := newRunner(t, w)
	entry, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a"), "test")
	if err != nil {
		t.Fatal(err)
	}
	var changed *ChangedError
	if _, err := r.Undo(t.Context(), entry.ID, "other", "test"); !errors.As(err, &changed) || w.on["a"] {
		t.Errorf("got %v", err)
	}
}

// A journal file cut at any byte is either no entry or an entry whose undo brings the old state back.
func TestJournalCutAtEveryByte(t *testing.T) {
	w := &world{on: map[string]bool{"a": true, "b": true}}
	r := newRunner(t, w)
	entry, err := r.Apply(t.Context(), switches(t, "storage/n/x", "a", "b"), "test")
	if err != nil {
		t.Fatal(err)
	}
	r.Journal.open = well
	file := r.Journal.file(entry.ID)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := r.Journal.Entry(entry.ID)
		if err != nil {
			continue // before the begin record was complete
		}
		if got.State != StateInterrupted && n < len(whole)-1 {
			t.Fatalf("cut at %d of %d: state %s", n, len(whole), got.State)
		}
		for i, step := range got.Steps {
			if step.Done && !step.Begun || step.Begun && string(step.Saved) != "true" {
				t.Fatalf("cut at %d: step %d is %+v", n, i, step)
			}
		}
		if begun := slices.ContainsFunc(got.Steps, func(s StepState) bool { return s.Begun }); !begun {
			continue
		}
		w.on["a"], w.on["b"] = !got.Steps[0].Begun, !got.Steps[1].Begun
		if _, err := undo(t, r, entry.ID); err != nil {
			t.Fatalf("cut at %d: undo: %v", n, err)
		}
		if again, err := r.Journal.Entry(entry.ID); err != nil || again.State != StateUndone || !w.on["a"] || !w.on["b"] {
			t.Fatalf("cut at %d: after undo %+v, %v, world %v", n, again, err, w.on)
		}
		// The next, longer one was not undone.
		if err := os.Remove(r.Journal.file("2")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJournalRefusesANewerFormat(t *testing.T) {
	w := &world{on: map[string]bool{}}
	r := newRunner(t, w)
	if _, err := r.Journal.Entries(); err != nil {
		t.Fatalf("a journal without directory: %v", err)
	}
	if err := os.Mkdir(r.Journal.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := `{"type":"begin","v":` + strconv.Itoa(JournalVersion+1) + `,"plan":{}}` + "\n"
	if err := os.WriteFile(r.Journal.file("1"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Journal.Entry("1"); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("got %v", err)
	}
	if _, err := r.Journal.Entry("../1"); !errors.Is(err, ErrNoEntry) {
		t.Errorf("id with a path: %v", err)
	}
}

func TestDigest(t *testing.T) {
	type facts struct {
		Nodes Set    `json:"nodes"`
		Type  string `json:"type"`
	}
	a, err1 := Digest(facts{Set{"pve2", "pve1", "pve2"}, "dir"})
	b, err2 := Digest(map[string]any{"type": "dir", "nodes": Set{"pve1", "pve2"}})
	c, err3 := Digest(facts{Set{"pve1"}, "dir"})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if a != b || a == c || len(a) != 64 {
		t.Errorf("digests %s %s %s", a, b, c)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := AcquireLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := AcquireLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	second, err := AcquireLock(path)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	second.Release()
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte(`{"type":"begin","v":1,"plan":{"title":"t","steps":[{}]}}` + "\n" + `{"type":"intent","step":0}` + "\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = parseEntry("1", data) // must not panic
	})
}
