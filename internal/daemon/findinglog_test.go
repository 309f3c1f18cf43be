package daemon

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labd/internal/finding"
)

// Each change of a finding is one line, and foreign text in it makes no second one.
func TestFindingLog(t *testing.T) {
	var out bytes.Buffer
	drop := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	l := newFindingLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: drop})))
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	f := finding.Finding{
		Code: finding.StorageDown, Subject: finding.Storage("pve1", "nas"), Severity: finding.Warn, Title: "nas is down\nlevel=ERROR msg=forged",
		Cause: "its server does not answer", Since: at, State: finding.StateActive,
	}
	l.write(finding.Change{Kind: finding.Raised, Finding: f, At: at})
	f.Severity, f.Title = finding.Fail, "nas is down"
	l.write(finding.Change{Kind: finding.Changed, Finding: f, At: at})
	f.State = finding.StateSilenced
	l.write(finding.Change{Kind: finding.Changed, Finding: f, At: at})
	l.write(finding.Change{Kind: finding.Cleared, Finding: f, At: at.Add(90 * time.Minute)})
	want := []string{
		`level=WARN msg="finding raised" code=storage.down subject=storage/pve1/nas severity=warn title="nas is down\nlevel=ERROR msg=forged" cause="its server does not answer"`,
		`level=ERROR msg="finding changed" code=storage.down subject=storage/pve1/nas severity=fail title="nas is down" state=active`,
		`level=INFO msg="finding changed" code=storage.down subject=storage/pve1/nas severity=fail title="nas is down" state=silenced`,
		`level=INFO msg="finding over" code=storage.down subject=storage/pve1/nas severity=fail title="nas is down" lasted=1h30m0s`,
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(out.String()), "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A log that stands still keeps nobody waiting.
func TestFindingLogNeverWaits(t *testing.T) {
	l := newFindingLog(slog.New(slog.DiscardHandler))
	for range 3 * logBacklog {
		l.note(finding.Change{})
	}
	if len(l.changes) != logBacklog || len(l.lost) != 1 {
		t.Errorf("%d changes wait, %d marks of lost ones", len(l.changes), len(l.lost))
	}
}

// What labd said of itself before a restart is over when the part is well, and stays while nothing is known of it.
func TestSelfFindingsAfterARestart(t *testing.T) {
	store := &memoryStore{}
	now := time.Now()
	first, err := finding.NewRegistry(now, finding.Options{Immediate: true, History: store})
	if err != nil {
		t.Fatal(err)
	}
	said := func(part string, code finding.Code) finding.Finding {
		return finding.Finding{Code: code, Severity: finding.Warn, Subject: finding.Labd(part), Title: part}
	}
	before := &selfFindings{registry: first}
	before.Set("config", said("config", finding.LabdConfigRejected))
	before.Set("notify", said("notify/mail", finding.LabdNotifyFailing), said("notify/old", finding.LabdNotifyFailing))
	before.Set("network", said("network", finding.LabdLoopPanicked))
	if err := first.Flush(); err != nil {
		t.Fatal(err)
	}
	again, err := finding.NewRegistry(now, finding.Options{Immediate: true, History: store})
	if err != nil {
		t.Fatal(err)
	}
	after := &selfFindings{registry: again}
	after.Set("config")
	after.Set("network")
	after.setAside([]string{"mail"})
	var there []string
	for _, record := range again.History() {
		if record.Cleared.IsZero() {
			there = append(there, string(record.Subject))
		}
	}
	if diff := cmp.Diff([]string{"labd/notify/mail"}, there); diff != "" {
		t.Errorf("still there, -want +got:\n%s", diff)
	}
}

// memoryStore keeps one value as JSON.
type memoryStore struct{ data []byte }

func (m *memoryStore) Load(decode func(int, []byte) error) error {
	if m.data == nil {
		return nil
	}
	return decode(1, m.data)
}

func (m *memoryStore) Save(value any) (err error) {
	m.data, err = json.Marshal(value)
	return err
}
