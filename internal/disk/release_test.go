package disk

import "testing"

func TestRelease(t *testing.T) {
	for _, tt := range []struct {
		text            string
		crto, duplicate Fix
	}{
		{"5.15.158-2-pve", NeverHad, NeverHad},
		{"5.18.0", NeverHad, Affected},
		{"5.19.17-2-pve", Affected, Affected},
		{"6.0.1", Affected, Affected},
		{"6.1.15-1-pve", Affected, Affected},
		{"6.1.38", Affected, Affected},
		{"6.1.40", Affected, Fixed},
		{"6.1.55", Fixed, Fixed},
		{"6.1.192", Fixed, Fixed},
		{"6.1.0-28-amd64", Fixed, Fixed},
		{"6.1.0-13-amd64", Fixed, Fixed},
		{"6.1.0-12-amd64", Affected, Fixed},
		{"6.1.0-11-amd64", Affected, Affected},
		{"6.1.0-1036-oem", FixUnknown, FixUnknown},
		{"6.2.16-3-pve", Affected, Affected},
		{"6.2.16-6-pve", AffectedLikely, Fixed},
		{"6.2.16-20-pve", AffectedLikely, Fixed},
		{"6.3.9", Affected, Affected},
		{"6.4.4", Affected, Affected},
		{"6.4.5", Affected, Fixed},
		{"6.5.3-1-pve", Affected, Fixed},
		{"6.5.11-1-pve", Fixed, Fixed},
		{"6.5.4", Affected, Fixed},
		{"6.6.0", Fixed, Fixed},
		{"6.8.12-43-pve", Fixed, Fixed},
		{"6.12.41+deb13-amd64", Fixed, Fixed},
		{"7.0.14-14-pve", Fixed, Fixed},
	} {
		r, err := ParseRelease(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if r.CRTO() != tt.crto || r.DuplicateIDs() != tt.duplicate {
			t.Errorf("%s: CRTO %d, duplicate ids %d; want %d, %d", tt.text, r.CRTO(), r.DuplicateIDs(), tt.crto, tt.duplicate)
		}
	}
	for _, text := range []string{"", "linux", "6", "99999999999.1", "-6.1"} {
		if r, err := ParseRelease(text); err == nil {
			t.Errorf("%q is %+v", text, r)
		}
	}
}

func FuzzRelease(f *testing.F) {
	f.Add("6.2.16-3-pve")
	f.Add("6.1.0-28-amd64")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRelease(text)
		if err != nil {
			return
		}
		if r.Major < 0 || r.Minor < 0 || r.Patch < 0 || r.Revision < 0 {
			t.Errorf("%q is %+v", text, r)
		}
		_, _ = r.CRTO(), r.DuplicateIDs()
	})
}
