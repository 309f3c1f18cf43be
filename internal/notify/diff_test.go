package notify

import (
	"testing"
	"time"

	"labd/internal/finding"
)

var t0 = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// fixedFindings are findings that do not change.
type fixedFindings struct {
	current []finding.Finding
	history []finding.Record
}

func (f fixedFindings) Current(time.Time) []finding.Finding { return f.current }
func (f fixedFindings) History() []finding.Record           { return f.history }

func dead(severity finding.Severity, state finding.State) finding.Finding {
	return finding.Finding{Code: finding.NVMeDead, Subject: finding.NVMe("0000:01:00.0"), Severity: severity, State: state, Title: "dead"}
}

func record(cleared time.Time) finding.Record {
	return finding.Record{Code: finding.NVMeDead, Subject: finding.NVMe("0000:01:00.0"), Cleared: cleared}
}

func told(severity finding.Severity, over time.Time, times int) Told {
	return Told{Code: finding.NVMeDead, Subject: finding.NVMe("0000:01:00.0"), Severity: severity, Title: "dead", At: t0.Add(-time.Hour), Over: over, Times: times}
}

func TestCompare(t *testing.T) {
	const least = finding.Warn
	present, gone := []finding.Record{record(time.Time{})}, []finding.Record{record(t0.Add(-time.Minute))}
	for _, tt := range []struct {
		name    string
		told    []Told
		current []finding.Finding
		history []finding.Record
		want    []changeKind
	}{
		{"nothing", nil, nil, nil, nil},
		{"new", nil, []finding.Finding{dead(finding.Fail, finding.StateActive)}, present, []changeKind{isNew}},
		{"below the least severity", nil, []finding.Finding{dead(finding.Info, finding.StateActive)}, present, nil},
		{"pending", nil, []finding.Finding{dead(finding.Fail, finding.StatePending)}, present, nil},
		{"consequence", nil, []finding.Finding{dead(finding.Fail, finding.StateConsequence)}, present, nil},
		{"silenced", nil, []finding.Finding{dead(finding.Fail, finding.StateSilenced)}, present, nil},
		{"told already", []Told{told(finding.Fail, time.Time{}, 0)}, []finding.Finding{dead(finding.Fail, finding.StateActive)}, present, nil},
		{"worse", []Told{told(finding.Warn, time.Time{}, 0)}, []finding.Finding{dead(finding.Fail, finding.StateActive)}, present, []changeKind{isWorse}},
		{"less bad", []Told{told(finding.Fail, time.Time{}, 0)}, []finding.Finding{dead(finding.Warn, finding.StateActive)}, present, nil},
		{"silenced after it was told", []Told{told(finding.Fail, time.Time{}, 0)}, []finding.Finding{dead(finding.Fail, finding.StateSilenced)}, present, nil},
		{"not looked at since a restart", []Told{told(finding.Fail, time.Time{}, 0)}, nil, present, nil},
		{"over", []Told{told(finding.Fail, time.Time{}, 0)}, nil, gone, []changeKind{isOver}},
		{"forgotten by the registry", []Told{told(finding.Fail, time.Time{}, 0)}, nil, nil, []changeKind{isOver}},
		{"over and told", []Told{told(finding.Fail, t0, 1)}, nil, gone, nil},
		{"back again", []Told{told(finding.Fail, t0, 1)}, []finding.Finding{dead(finding.Fail, finding.StateActive)}, present, []changeKind{isNew}},
		{"over for the second time, a minute ago", []Told{told(finding.Fail, time.Time{}, 1)}, nil, gone, nil},
		{"over for the second time, an hour ago", []Told{told(finding.Fail, time.Time{}, 1)}, nil, []finding.Record{record(t0.Add(-time.Hour))}, []changeKind{isOver}},
		{"over in the future, after the clock was set back", []Told{told(finding.Fail, time.Time{}, 1)}, nil, []finding.Record{record(t0.Add(time.Hour))}, []changeKind{isOver}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changes := compare(tt.told, fixedFindings{tt.current, tt.history}, least, t0)
			if len(changes) != len(tt.want) || len(changes) == 1 && changes[0].kind != tt.want[0] {
				t.Fatalf("got %+v, want %v", changes, tt.want)
			}
			// What was delivered is not told again.
			if again := compare(note(tt.told, changes, t0), fixedFindings{tt.current, tt.history}, least, t0); len(again) > 0 {
				t.Errorf("told again: %+v", again)
			}
		})
	}
}

// What comes first in a message is what a person must read first.
func TestOrder(t *testing.T) {
	current := []finding.Finding{
		{Code: finding.StorageDown, Subject: "storage/a/b", Severity: finding.Warn, State: finding.StateActive},
		dead(finding.Fail, finding.StateActive),
	}
	old := Told{Code: finding.NVMeDead, Subject: finding.NVMe("0000:02:00.0"), Severity: finding.Fail}
	worse := Told{Code: finding.NVMeDead, Subject: finding.NVMe("0000:01:00.0"), Severity: finding.Warn}
	changes := compare([]Told{old, worse}, fixedFindings{current, []finding.Record{record(time.Time{})}}, finding.Info, t0)
	var got []changeKind
	for _, c := range changes {
		got = append(got, c.kind)
	}
	if len(got) != 3 || got[0] != isWorse || got[1] != isNew || got[2] != isOver {
		t.Errorf("got %v", got)
	}
}

func TestNoteIsBounded(t *testing.T) {
	var changes []change
	for i := range maxTold + 50 {
		changes = append(changes, change{isNew, finding.Finding{Code: finding.StorageDown, Subject: finding.Storage("n", string(rune('a'+i)))}})
	}
	if got := note(nil, changes, t0); len(got) != maxTold {
		t.Errorf("%d remembered", len(got))
	}
	// What has been over for a day is forgotten.
	if got := note([]Told{told(finding.Fail, t0.Add(-25*time.Hour), 3)}, nil, t0); len(got) != 0 {
		t.Errorf("kept %+v", got)
	}
}
