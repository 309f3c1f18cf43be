package finding

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// memory is a Store in memory that can be made to fail.
type memory struct {
	data []byte
	fail error
}

func (m *memory) Load(decode func(int, []byte) error) error {
	if m.data == nil {
		return nil
	}
	return decode(1, m.data)
}

func (m *memory) Save(value any) error {
	if m.fail != nil {
		return m.fail
	}
	var err error
	m.data, err = json.Marshal(value)
	return err
}

// scene is a registry with a clock and what it told.
type scene struct {
	t       *testing.T
	r       *Registry
	now     time.Time
	told    []string
	history *memory
	silence *memory
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, now: start, history: &memory{}, silence: &memory{}}
	s.restart()
	return s
}

// restart begins a new registry with what the old one stored.
func (s *scene) restart() {
	s.t.Helper()
	if s.r != nil {
		if err := s.r.Flush(); err != nil {
			s.t.Fatal(err)
		}
	}
	r, err := NewRegistry(s.now, Options{History: s.history, Silences: s.silence, Settle: func(c Code) time.Duration {
		if c == StorageDown {
			return time.Minute
		}
		return 0
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	r.Listen(func(c Change) {
		s.told = append(s.told, fmt.Sprintf("%s %s %s %s", c.Kind, c.Finding.Code, c.Finding.Subject, c.Finding.State))
	})
	s.r = r
}

func (s *scene) see(after time.Duration, fs ...Finding) {
	s.now = s.now.Add(after)
	s.r.Update(s.now, fs, "nvme", "storage")
}

// states are the current findings as "code subject state".
func (s *scene) states() []string {
	var out []string
	for _, f := range s.r.Current(s.now) {
		out = append(out, fmt.Sprintf("%s %s %s", f.Code, f.Subject, f.State))
	}
	return out
}

func (s *scene) check(what string, told []string, states ...string) {
	s.t.Helper()
	if diff := cmp.Diff(states, s.states()); diff != "" {
		s.t.Errorf("%s: states, -want +got:\n%s", what, diff)
	}
	if diff := cmp.Diff(told, s.told); diff != "" {
		s.t.Errorf("%s: told, -want +got:\n%s", what, diff)
	}
	s.told = nil
}

func down() Finding {
	return Finding{Code: StorageDown, Severity: Warn, Subject: "storage/n/nas", Title: "nas is down"}
}

func dead() Finding {
	return Finding{Code: NVMeDead, Severity: Fail, Subject: "nvme/0000:01:00.0", Title: "dead"}
}

func TestSinceLastsUntilGone(t *testing.T) {
	s := newScene(t)
	since := func() time.Time { return s.r.Current(s.now)[0].Since }
	fs := []Finding{dead()}
	s.r.Update(s.now, fs, "nvme")
	if got := s.r.Annotate(s.now, fs); got[0].Since != start || !fs[0].Since.IsZero() {
		t.Errorf("since when: %v, in the caller's slice %v", got[0].Since, fs[0].Since)
	}
	s.see(time.Hour, dead())
	s.now = s.now.Add(time.Hour)
	s.r.Update(s.now, nil, "storage") // speaks for storages only
	if since() != start {
		t.Errorf("since %v", since())
	}
	s.see(time.Hour)
	s.see(time.Hour, dead())
	if since() != start.Add(4*time.Hour) {
		t.Errorf("came back: since %v", since())
	}
}

// What comes and goes within its settling time makes no noise; what stays is told once, and its end once.
func TestNoFlapping(t *testing.T) {
	s := newScene(t)
	s.see(0, down())
	s.check("just there", nil, "storage.down storage/n/nas pending")
	s.see(30 * time.Second)
	s.see(10*time.Second, down())
	s.check("gone and back", nil, "storage.down storage/n/nas pending")
	s.see(20*time.Second, down())
	s.check("a minute old", []string{"raised storage.down storage/n/nas active"}, "storage.down storage/n/nas active")
	for range 20 {
		s.see(30 * time.Second)
		s.check("away for a moment", nil)
		s.see(20*time.Second, down())
		s.check("back", nil, "storage.down storage/n/nas active")
	}
	s.see(time.Second)
	s.now = s.now.Add(time.Minute)
	s.r.Tick(s.now)
	s.check("away for good", []string{"cleared storage.down storage/n/nas "})
	s.see(time.Hour, down())
	s.see(time.Second)
	s.see(time.Hour)
	s.check("a moment's outage later", nil)
	worse := dead()
	s.see(0, worse)
	worse.Severity = Warn
	s.see(0, worse)
	s.see(0, worse)
	s.check("severity", []string{"raised nvme.dead nvme/0000:01:00.0 active", "changed nvme.dead nvme/0000:01:00.0 active"}, "nvme.dead nvme/0000:01:00.0 active")
}

func TestConsequenceHidesBehindItsCause(t *testing.T) {
	s := newScene(t)
	gone := Finding{Code: StorageDeviceGone, Severity: Fail, Subject: "storage/n/usb1", DependsOn: []Ref{dead().Ref()}}
	masked := Finding{Code: StorageMasked, Severity: Fail, Subject: "storage/n/usb1", DependsOn: []Ref{gone.Ref()}}
	s.see(0, gone, masked)
	s.check("without its cause", []string{"raised storage.device-gone storage/n/usb1 active"},
		"storage.device-gone storage/n/usb1 active", "storage.masked storage/n/usb1 consequence")
	s.see(0, gone, masked, dead())
	s.check("with it", []string{"raised nvme.dead nvme/0000:01:00.0 active", "changed storage.device-gone storage/n/usb1 consequence"},
		"nvme.dead nvme/0000:01:00.0 active", "storage.device-gone storage/n/usb1 consequence", "storage.masked storage/n/usb1 consequence")
	for _, f := range s.r.Current(s.now) {
		if f.Code == StorageMasked && (f.Behind == nil || *f.Behind != dead().Ref()) {
			t.Errorf("hidden behind %v, want the first cause", f.Behind)
		}
	}
	if _, err := s.r.Silence(s.now, Silence{Code: NVMeDead, Reason: "new drive ordered"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	s.told = nil
	s.check("a silence of the cause", nil, "nvme.dead nvme/0000:01:00.0 silenced", "storage.device-gone storage/n/usb1 silenced", "storage.masked storage/n/usb1 silenced")
}

// Findings that name each other as cause must not all vanish.
func TestCircleOfCauses(t *testing.T) {
	s := newScene(t)
	a := Finding{Code: "a", Severity: Fail, Subject: "nvme/1"}
	b := Finding{Code: "b", Severity: Fail, Subject: "nvme/2"}
	c := Finding{Code: "c", Severity: Fail, Subject: "nvme/3"}
	a.DependsOn, b.DependsOn, c.DependsOn = []Ref{b.Ref()}, []Ref{a.Ref(), a.Ref()}, []Ref{b.Ref()}
	s.see(0, a, b, c)
	s.told = nil
	s.check("circle", nil, "a nvme/1 active", "b nvme/2 consequence", "c nvme/3 consequence")
	a.DependsOn = []Ref{a.Ref()}
	s.see(0, a)
	s.told = nil
	s.check("depends on itself", nil, "a nvme/1 active")
}

func TestSilence(t *testing.T) {
	s := newScene(t)
	s.see(0, dead())
	s.told = nil
	first, err := s.r.Silence(s.now, Silence{Subject: "nvme/*", Reason: "known", Actor: "root"}, 48*time.Hour)
	if err != nil || first.ID != "1" || first.Until != s.now.Add(48*time.Hour) {
		t.Fatalf("%+v, %v", first, err)
	}
	s.check("silenced", []string{"changed nvme.dead nvme/0000:01:00.0 silenced"}, "nvme.dead nvme/0000:01:00.0 silenced")
	s.restart()
	s.see(time.Hour, dead())
	s.check("after a restart", nil, "nvme.dead nvme/0000:01:00.0 silenced")
	s.see(48*time.Hour, dead())
	s.check("expired", []string{"changed nvme.dead nvme/0000:01:00.0 active"}, "nvme.dead nvme/0000:01:00.0 active")
	second, err := s.r.Silence(s.now, Silence{Code: NVMeDead, Subject: "nvme/0000:02:00.0", Reason: "another drive"}, time.Hour)
	if err != nil || second.ID != "2" {
		t.Fatalf("%+v, %v", second, err)
	}
	s.check("another subject", nil, "nvme.dead nvme/0000:01:00.0 active")
	if _, err := s.r.Unsilence(s.now, "2"); err != nil || len(s.r.Silences(s.now)) != 0 {
		t.Errorf("%v: %v", err, s.r.Silences(s.now))
	}
	if _, err := s.r.Unsilence(s.now, "2"); !errors.Is(err, ErrNoSilence) {
		t.Errorf("removed twice: %v", err)
	}
	for _, tt := range []struct {
		s    Silence
		d    time.Duration
		want string
	}{
		{Silence{Reason: "r"}, time.Hour, "code, a subject or both"},
		{Silence{Code: "nvme.nonsense", Reason: "r"}, time.Hour, "not the code"},
		{Silence{Subject: "*", Reason: "r"}, time.Hour, "not a subject"},
		{Silence{Subject: "*/*", Reason: "r"}, time.Hour, "not a subject"},
		{Silence{Subject: "nvme/[", Reason: "r"}, time.Hour, "pattern"},
		{Silence{Subject: "nvme/1", Reason: " "}, time.Hour, "reason"},
		{Silence{Subject: "nvme/1", Reason: "r"}, 0, "lasts"},
		{Silence{Subject: "nvme/1", Reason: "r"}, MaxSilence + 1, "lasts"},
	} {
		var bad *SilenceError
		if _, err := s.r.Silence(s.now, tt.s, tt.d); !errors.As(err, &bad) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v for %s: %v, want %q", tt.s, tt.d, err, tt.want)
		}
	}
}

// A restart neither raises again what was told nor forgets to tell its end.
func TestRestart(t *testing.T) {
	s := newScene(t)
	s.see(0, dead(), down())
	s.told = nil
	s.now = s.now.Add(time.Hour)
	s.restart()
	s.r.Update(s.now, nil, "storage") // the NVMe job has not looked yet
	s.check("before the first look", nil)
	s.see(0, dead())
	s.check("still there", nil, "nvme.dead nvme/0000:01:00.0 active")
	if since := s.r.Current(s.now)[0].Since; !since.Equal(start) {
		t.Errorf("since %v, want %v", since, start)
	}
	s.restart()
	s.see(time.Minute)
	s.check("gone meanwhile", []string{"cleared nvme.dead nvme/0000:01:00.0 "})
	// A computer that starts with the clock of last year.
	s.see(0, dead())
	s.now = start.AddDate(-1, 0, 0)
	s.restart()
	s.see(0, dead())
	if since := s.r.Current(s.now)[0].Since; since.After(s.now) {
		t.Errorf("since %v lies in the future of %v", since, s.now)
	}
}

// A clock that is set back while labd is off does not make a silence longer than it was asked for.
func TestSilenceAndClock(t *testing.T) {
	s := newScene(t)
	if _, err := s.r.Silence(s.now, Silence{Subject: "nvme/1", Reason: "r"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	s.now = start.AddDate(-1, 0, 0)
	s.restart()
	if until := s.r.Silences(s.now)[0].Until; until.Sub(s.now) > time.Hour {
		t.Errorf("lasts until %v", until)
	}
	s.now = start.AddDate(1, 0, 0)
	s.restart()
	if list := s.r.Silences(s.now); len(list) != 0 {
		t.Errorf("lasts beyond its end: %v", list)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	s := newScene(t)
	for i := range 3 * maxHistory {
		f := dead()
		f.Subject = NVMe(fmt.Sprint(i))
		s.see(time.Minute, f)
	}
	s.see(time.Minute, dead())
	list := s.r.History()
	if len(list) != maxHistory+1 || list[0].Subject != dead().Subject || list[1].Subject != NVMe(fmt.Sprint(3*maxHistory-1)) || list[1].Cleared.IsZero() {
		t.Errorf("%d records, the first: %+v", len(list), list[:2])
	}
	s.restart()
	if diff := cmp.Diff(list, s.r.History()); diff != "" {
		t.Errorf("after a restart, -want +got:\n%s", diff)
	}
	s.see(0, dead())
	s.see(time.Minute)
	s.see(time.Minute, dead())
	record := s.r.History()[0]
	if record.Episodes != 2 || record.First.Equal(record.Since) || !record.Cleared.IsZero() {
		t.Errorf("came back: %+v", record)
	}
}

// A full disk or a read-only root costs what a restart would remember, never a finding.
func TestFailingStore(t *testing.T) {
	s := newScene(t)
	s.history.fail, s.silence.fail = errors.New("no space left on device"), errors.New("read-only file system")
	s.see(0, dead())
	if err := s.r.Flush(); err == nil {
		t.Error("a failed write is not told")
	}
	if _, err := s.r.Silence(s.now, Silence{Code: NVMeDead, Reason: "r"}, time.Hour); err == nil || len(s.r.Silences(s.now)) != 0 {
		t.Errorf("a silence that is not on disk is in force: %v", err)
	}
	s.check("all there", []string{"raised nvme.dead nvme/0000:01:00.0 active"}, "nvme.dead nvme/0000:01:00.0 active")
	s.history.fail = nil
	if err := s.r.Flush(); err != nil || s.history.data == nil {
		t.Errorf("not written after the disk had room again: %v", err)
	}
	if _, err := NewRegistry(s.now, Options{History: &memory{data: []byte("}")}}); err == nil {
		t.Error("a damaged history is not told")
	}
}

func TestSettleKnowsItsCodes(t *testing.T) {
	for _, code := range []Code{NVMeResetting, NVMeUnreadable, StorageDown, NetDockerUnreachable} {
		if Settle(code) == 0 || !slices.ContainsFunc(Defs(), func(d Def) bool { return d.Code == code }) {
			t.Errorf("%s", code)
		}
	}
}
