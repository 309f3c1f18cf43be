package disk

import (
	"strings"
	"testing"
)

func TestCheckLink(t *testing.T) {
	l := func(speed string, width int, maxSpeed string, maxWidth int) Link {
		return Link{Current: LinkState{ParseSpeed(speed), lanes(int64(width))}, Max: LinkState{ParseSpeed(maxSpeed), lanes(int64(maxWidth))}}
	}
	const g5, g3, g4, g1 = "32.0 GT/s PCIe", "8.0 GT/s PCIe", "16.0 GT/s PCIe", "2.5 GT/s PCIe"
	for _, tt := range []struct {
		name     string
		own      Link
		port     Link
		severity string
		title    string
		model    string
		slow     int
	}{
		{"as good as both can", l(g4, 4, g4, 4), l(g4, 4, g4, 16), "", "", "", 0},
		{"fewer lanes than both have", l(g4, 2, g4, 4), l(g4, 2, g4, 4), "warn", "2 of 4 lanes", "", 0},
		{"an x2 slot", l(g3, 2, g4, 4), l(g3, 2, g3, 2), "info", "2 of the 4 lanes", "", 0},
		{"an older slot with all lanes", l(g3, 4, g4, 4), l(g3, 4, g3, 4), "", "", "", 0},
		{"slower than both can, at work", l(g1, 4, g4, 4), l(g1, 4, g4, 4), "warn", "at 2.5 GT/s PCIe", "", slowLooks},
		{"slower than both can, maybe idle", l(g1, 4, g4, 4), l(g1, 4, g4, 4), "info", "at 2.5 GT/s PCIe", "", slowLooks - 1},
		{"two lanes at 32 GT/s by design", l(g5, 2, g5, 4), l(g5, 2, g5, 4), "", "", "Samsung SSD 990 EVO Plus 2TB", 0},
		{"two lanes of four at 32 GT/s", l(g5, 2, g5, 4), l(g5, 2, g5, 16), "warn", "2 of 4 lanes", "CT2000T705SSD3", 0},
		{"two lanes at 32 GT/s, of a model that is not known", l(g5, 2, g5, 4), l(g5, 2, g5, 4), "info", "as some drives are built", "Acme 5000", 0},
		{"one lane at 32 GT/s", l(g5, 1, g5, 4), l(g5, 1, g5, 4), "warn", "1 of 4 lanes", "Samsung SSD 990 EVO 1TB", 0},
		{"a virtual machine", l("Unknown", 0, "Unknown", 255), Link{}, "", "", "", 0},
		{"no port to compare with", l(g3, 1, g4, 4), Link{}, "", "", "", 0},
		{"not a number", l("NaN GT/s", 4, g4, 4), l(g4, 4, g4, 4), "", "", "", 0},
	} {
		f, ok := checkLink(&Drive{Function: Function{Address: "0000:01:00.0", Link: tt.own, SlowAtWork: tt.slow, Controllers: []Controller{{Model: tt.model}}, Port: Port{Address: "0000:00:01.0", Link: tt.port}}})
		if ok != (tt.severity != "") || ok && (f.Severity.String() != tt.severity || !strings.Contains(f.Title, tt.title)) {
			t.Errorf("%s: %v %s %q", tt.name, ok, f.Severity, f.Title)
		}
	}
}

func TestParseAER(t *testing.T) {
	for _, tt := range []struct {
		text  string
		total uint64
		ok    bool
	}{
		{"RxErr 3\nBadTLP 1\nTOTAL_ERR_COR 4\n", 4, true},
		{"12\n", 12, true},
		{"", 0, false},
		{"TOTAL_ERR_COR -1\n", 0, false},
		{"RxErr 3\n", 0, false},
	} {
		if total, _, ok := parseAER(tt.text); total != tt.total || ok != tt.ok {
			t.Errorf("%q: %d %v", tt.text, total, ok)
		}
	}
}

func FuzzAER(f *testing.F) {
	f.Add("RxErr 3\nTOTAL_ERR_COR 4\n")
	f.Fuzz(func(t *testing.T, text string) {
		if total, _, ok := parseAER(text); !ok && total != 0 {
			t.Errorf("%q: %d without being known", text, total)
		}
		if v := ParseSpeed(text); v < 0 {
			t.Errorf("speed %q is %f", text, v)
		}
	})
}
