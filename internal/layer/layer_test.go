package layer

import (
	"encoding/json"
	"testing"
)

// The texts are those of reports and of the drive memory: they may not change.
func TestText(t *testing.T) {
	for text, l := range map[string]Layer{
		"lvm pve":           {VolumeGroup, "pve"},
		"zfs tank":          {Pool, "tank"},
		"mount /mnt/my usb": {Mount, "/mnt/my usb"},
		"swap":              {Swap, ""},
		"md md0":            {MD, "md0"},
		"md":                {MD, ""},
		"dm luks-data":      {DM, "luks-data"},
		"luks":              {LUKS, ""},
		"ext 1a2b":          {Ext, "1a2b"},
		"holder drbd0":      {Holder, "drbd0"},
		"by-id nvme-X_S1":   {ByID, "nvme-X_S1"},
		"":                  {},
	} {
		if got := Parse(text); got != l {
			t.Errorf("Parse(%q) = %#v", text, got)
		}
		if got := l.String(); got != text {
			t.Errorf("%#v is written %q, want %q", l, got, text)
		}
	}
}

func TestJSON(t *testing.T) {
	in := []Layer{{Mount, "/tank"}, {Swap, ""}}
	data, err := json.Marshal(in)
	if err != nil || string(data) != `["mount /tank","swap"]` {
		t.Fatalf("%s, %v", data, err)
	}
	var out []Layer
	if err := json.Unmarshal(data, &out); err != nil || len(out) != 2 || out[0] != in[0] || out[1] != in[1] {
		t.Errorf("%v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`[1]`), &out); err == nil {
		t.Error("a number is taken for a layer")
	}
}

func TestIs(t *testing.T) {
	for _, c := range []struct {
		have, want string
		is         bool
	}{
		{"lvm pve", "lvm pve", true},
		{"lvm pve", "zfs pve", false},
		{"ext AB-cd", "uuid ab-CD", true},
		{"vfat 12AB-34CD", "uuid 12ab-34cd", true},
		{"swap 1234", "uuid 1234", true},
		{"mount 1234", "uuid 1234", false},
		{"lvm 1234", "uuid 1234", false},
		{"ext", "uuid", false},
	} {
		if got := Parse(c.have).Is(Parse(c.want)); got != c.is {
			t.Errorf("%q is %q: %v", c.have, c.want, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("mount /mnt/my usb")
	f.Add("swap")
	f.Add(" x")
	f.Fuzz(func(t *testing.T, text string) {
		l := Parse(text)
		if again := Parse(l.String()); again != l {
			t.Errorf("%q: %#v, then %#v", text, l, again)
		}
	})
}
