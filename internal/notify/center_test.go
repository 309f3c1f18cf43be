package notify

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"labd/internal/finding"
)

// inbox is a target that takes messages, or fails, or never answers.
type inbox struct {
	mu       sync.Mutex
	messages []Message
	err      error
	hang     bool
	tries    int
}

func (i *inbox) Notify(ctx context.Context, m Message) error {
	i.mu.Lock()
	i.tries++
	hang, err := i.hang, i.err
	if !hang && err == nil {
		i.messages = append(i.messages, m)
	}
	i.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// set makes the inbox sick or well.
func (i *inbox) set(hang bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hang, i.err = hang, err
}

// count is how many messages it took, and how many were tried.
func (i *inbox) count() (taken, tries int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.messages), i.tries
}

// memory is a store in memory.
type memory struct {
	data []byte
	err  error
}

func (m *memory) Load(decode func(int, []byte) error) error {
	if m.data == nil {
		return nil
	}
	return decode(StateVersion, m.data)
}

func (m *memory) Save(value any) (err error) {
	if m.err != nil {
		return m.err
	}
	m.data, err = json.Marshal(value)
	return err
}

// bed is a center with inboxes in place of its targets, inside a bubble with a clock of its own.
type bed struct {
	t        *testing.T
	registry *finding.Registry
	store    *memory
	center   *Center
	boxes    map[string]*inbox
	mayTell  atomic.Bool
	mu       sync.Mutex
	failed   []finding.Finding
	present  []finding.Finding
}

func newBed(t *testing.T, names ...string) *bed {
	registry, err := finding.NewRegistry(time.Now(), finding.Options{Settle: func(finding.Code) time.Duration { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, registry: registry, store: &memory{}, boxes: map[string]*inbox{}}
	b.mayTell.Store(true)
	b.restart(names...)
	return b
}

// restart makes another center over the same store.
func (b *bed) restart(names ...string) {
	b.t.Helper()
	if b.center != nil {
		b.center.Stop()
	}
	policy := DefaultPolicy()
	policy.MailTo = nil
	for _, name := range names {
		policy.WebhookFiles = append(policy.WebhookFiles, "/etc/labd/"+name)
	}
	var err error
	b.center, err = New(policy, "pve1", Options{
		MayTell: b.mayTell.Load, Findings: b.registry, Store: b.store, Log: slog.New(slog.DiscardHandler), Timing: DefaultTiming(),
		Failing: func(found []finding.Finding) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.failed = found
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, w := range b.center.targets {
		if b.boxes[w.target.Name] == nil {
			b.boxes[w.target.Name] = &inbox{}
		}
		w.target.Notifier = b.boxes[w.target.Name]
	}
	b.center.Start(b.t.Context())
	b.t.Cleanup(b.center.Stop)
}

// failing are the findings about targets.
func (b *bed) failing() []finding.Finding {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// set replaces the findings about NVMe functions.
func (b *bed) set(subjects ...string) {
	b.present = nil
	for _, s := range subjects {
		b.present = append(b.present, finding.Finding{Code: finding.NVMeDead, Subject: finding.NVMe(s), Severity: finding.Fail, Title: "dead"})
	}
	b.registry.Update(time.Now(), b.present, "nvme")
}

// pass lets time go by.
func (b *bed) pass(d time.Duration) {
	time.Sleep(d) // of the bubble: no real time goes by
	synctest.Wait()
}

// titles are what an inbox got, without what all have in common.
func (b *bed) titles(name string) string {
	var out []string
	box := b.boxes[name]
	box.mu.Lock()
	defer box.mu.Unlock()
	for _, m := range box.messages {
		out = append(out, strings.TrimPrefix(m.Title, "[labd pve1] "))
	}
	return strings.Join(out, "; ")
}

func TestTellsOnceAndWhenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, "phone")
		b.set("a")
		b.pass(time.Minute)
		if got := b.titles("phone"); got != "" {
			t.Errorf("told within the grace after the start: %s", got)
		}
		b.pass(time.Minute + 30*time.Second)
		if got := b.titles("phone"); got != "FAIL: nvme/a: dead" {
			t.Fatalf("told %q", got)
		}
		b.pass(24 * time.Hour)
		b.set("a", "b")
		b.pass(5 * time.Second)
		b.set("a", "b", "c")
		b.pass(time.Minute)
		b.set()
		b.pass(2 * time.Minute)
		if got := b.titles("phone"); got != "FAIL: nvme/a: dead; FAIL: 2 findings, first nvme/b: dead; over: 3 findings, among them nvme/a: dead" {
			t.Errorf("told %q", got)
		}
	})
}

// A restart tells nothing again, and what was over meanwhile is told.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, "phone")
		b.set("a", "b")
		b.pass(3 * time.Minute)
		b.restart("phone")
		b.pass(10 * time.Minute)
		if n, _ := b.boxes["phone"].count(); n != 1 {
			t.Fatalf("%d messages: %s", n, b.titles("phone"))
		}
		b.center.Stop()
		b.set("b")
		b.restart("phone")
		b.pass(10 * time.Minute)
		if got := b.titles("phone"); !strings.HasSuffix(got, "; over: nvme/a: dead") {
			t.Errorf("told %q", got)
		}
		// A target that is new hears of what there is.
		b.restart("phone", "chat")
		b.pass(10 * time.Minute)
		if got := b.titles("chat"); got != "FAIL: nvme/b: dead" || strings.Count(b.titles("phone"), "nvme/b") > 1 {
			t.Errorf("told %q, and %q", got, b.titles("phone"))
		}
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, "phone")
		if _, err := b.registry.Silence(time.Now(), finding.Silence{Code: finding.NVMeDead, Subject: "nvme/a", Reason: "known"}, time.Hour); err != nil {
			t.Fatal(err)
		}
		b.set("a")
		b.pass(50 * time.Minute)
		if got := b.titles("phone"); got != "" {
			t.Fatalf("told %q", got)
		}
		b.pass(20 * time.Minute)
		if got := b.titles("phone"); got != "FAIL: nvme/a: dead" {
			t.Errorf("after the silence: %q", got)
		}
	})
}

// A target that never answers or fails is tried ever more rarely, keeps nobody waiting, is told once it works, and is a
// finding meanwhile.
func TestDeadTarget(t *testing.T) {
	for _, tt := range []struct {
		name string
		hang bool
		err  error
	}{{"never answers", true, nil}, {"fails", false, errors.New("no")}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, "dead", "phone")
				b.boxes["dead"].set(tt.hang, tt.err)
				b.set("a")
				b.pass(3 * time.Minute)
				if got := b.titles("phone"); got != "FAIL: nvme/a: dead" {
					t.Fatalf("the other target: %q", got)
				}
				start := time.Now()
				b.registry.Update(start, b.present, "nvme")
				if time.Since(start) > 0 {
					t.Error("a job waited for a target")
				}
				b.pass(2 * time.Hour)
				if _, tries := b.boxes["dead"].count(); tries < 5 || tries > 12 {
					t.Errorf("%d tries in two hours", tries)
				}
				if failing := b.failing(); len(failing) != 1 || failing[0].Subject != "labd/notify/dead" || failing[0].Code != finding.LabdNotifyFailing {
					t.Errorf("failing: %+v", failing)
				}
				status := b.center.Statuses()[0]
				if status.Pending != 1 || status.Failed == 0 || !status.Failing || status.Err == nil || !status.LastSuccess.IsZero() {
					t.Errorf("status: %+v", status)
				}
				b.set("a", "b")
				b.boxes["dead"].set(false, nil)
				b.pass(2 * time.Hour)
				if got := b.titles("dead"); got != "FAIL: 2 findings, first nvme/a: dead" {
					t.Errorf("told %q", got)
				}
				if failing := b.failing(); len(failing) != 0 {
					t.Errorf("still failing: %+v", failing)
				}
			})
		})
	}
}

// What comes and goes is told as standing, and its end when it lasts.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, "phone")
		b.pass(5 * time.Minute)
		for range 30 {
			b.set("a")
			b.pass(2 * time.Minute)
			b.set()
			b.pass(2 * time.Minute)
		}
		if n, _ := b.boxes["phone"].count(); n < 2 || n > 4 {
			t.Errorf("%d messages in two hours: %s", n, b.titles("phone"))
		}
		b.pass(3 * time.Hour)
		if got := b.titles("phone"); !strings.HasSuffix(got, "over: nvme/a: dead") {
			t.Errorf("told %q", got)
		}
	})
}

// A full disk costs the memory over a restart, no more.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, "phone")
		b.store.err = errors.New("no space left on device")
		b.set("a")
		b.pass(time.Hour)
		if got := b.titles("phone"); got != "FAIL: nvme/a: dead" {
			t.Errorf("told %q", got)
		}
	})
}

func TestTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, "dead", "phone")
		b.boxes["dead"].set(true, nil)
		start := time.Now()
		results, unknown := b.center.Test(t.Context(), nil)
		if took := time.Since(start); took != DefaultTiming().Deadline || unknown != "" {
			t.Errorf("took %s, %q", took, unknown)
		}
		if len(results) != 2 || !errors.Is(results[0].Err, context.DeadlineExceeded) || results[1].Err != nil || b.titles("phone") != "test" {
			t.Errorf("%+v; %q", results, b.titles("phone"))
		}
		if _, unknown := b.center.Test(t.Context(), []string{"phone", "nobody"}); unknown != "nobody" {
			t.Errorf("unknown %q", unknown)
		}
		if results, _ := b.center.Test(t.Context(), []string{"phone"}); len(results) != 1 || results[0].Name != "phone" {
			t.Errorf("%+v", results)
		}
	})
}

// Another configuration keeps what targets were told, and their figures.
func TestConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, "phone")
		b.set("a")
		b.pass(3 * time.Minute)
		policy := b.center.policy
		policy.MinSeverity = "fail"
		b.center.Configure(policy, "pve1")
		b.pass(time.Hour)
		if s := b.center.Statuses()[0]; s.Sent != 1 || strings.Contains(b.titles("phone"), ";") {
			t.Errorf("%+v, told %q", s, b.titles("phone"))
		}
		policy.WebhookFiles = nil
		b.center.Configure(policy, "pve1")
		if len(b.center.Statuses()) != 0 {
			t.Error("a target is left")
		}
	})
}

func TestMayTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, "phone")
		b.mayTell.Store(false)
		b.set("a")
		b.pass(time.Hour)
		if got := b.titles("phone"); got != "" {
			t.Errorf("a labd that only reads told %q", got)
		}
	})
}
