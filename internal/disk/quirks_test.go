package disk

import (
	"slices"
	"testing"
)

func TestQuirks(t *testing.T) {
	for _, tt := range []struct {
		vendor, device uint16
		release, quirk string
		want           Presence
	}{
		{0x1e4b, 0x1602, "6.1.32", quirkBogusNID, PresenceNo},
		{0x1e4b, 0x1602, "6.1.33", quirkBogusNID, PresenceYes},
		{0x1e4b, 0x1602, "6.4.0", quirkBogusNID, PresenceYes},
		{0x1e4b, 0x1602, "6.8.12-4-pve", quirkBogusNID, PresenceYes},
		{0x1d97, 0x1602, "7.3.4", quirkBogusNID, PresenceNo}, // no kernel knows the rebadged one
		{0x1d97, 0x2263, "7.3.4", quirkBogusNID, PresenceNo}, // listed twice, and the first entry wins
		{0x1d97, 0x2263, "7.3.4", "disable_write_zeroes", PresenceYes},
		{0x15b7, 0x5008, "6.1.192", quirkBrokenMSI, PresenceNo},
		{0x15b7, 0x5008, "6.8.9", quirkBrokenMSI, PresenceNo},
		{0x15b7, 0x5008, "6.8.10", quirkBrokenMSI, PresenceYes},
		{0x15b7, 0x5008, "6.10.0", quirkBrokenMSI, PresenceYes},
		{0x15b7, 0x5008, "5.14.0-362.el9.x86_64", quirkBrokenMSI, PresenceUnknown},
	} {
		r, err := ParseRelease(tt.release)
		if err != nil {
			t.Fatal(err)
		}
		if got := hasQuirk(Function{Vendor: tt.vendor, Device: tt.device}, DMI{}, r, tt.quirk); got != tt.want {
			t.Errorf("%04x:%04x under %s: %s is %d, want %d", tt.vendor, tt.device, tt.release, tt.quirk, got, tt.want)
		}
	}
}

func TestQuirksByBoardAndModel(t *testing.T) {
	r, err := ParseRelease("7.3.4")
	if err != nil {
		t.Fatal(err)
	}
	fn := Function{Vendor: 0x144d, Device: 0xa804}
	if got := quirksOf(fn, DMI{BoardVendor: "ASUSTeK COMPUTER INC.", BoardName: "PRIME B350M-A"}, r); !slices.Contains(got, "no_apst") {
		t.Errorf("on the board: %v", got)
	}
	if got := quirksOf(fn, DMI{BoardVendor: "ASUSTeK COMPUTER INC.", BoardName: "PRIME B350"}, r); slices.Contains(got, "no_apst") {
		t.Errorf("on another board: %v", got)
	}
	fn = Function{Vendor: 0x1e0f, Controllers: []Controller{{Model: "KCD6XVUL6T40"}}}
	if got := quirksOf(fn, DMI{}, r); !slices.Contains(got, "no_apst") {
		t.Errorf("by model: %v", got)
	}
}

func TestChip(t *testing.T) {
	for _, tt := range []struct {
		vendor, device uint16
		model, want    string
	}{
		{0x1e4b, 0x1602, "", chipMAP1602},
		{0x1d97, 0x1602, "", chipMAP1602},
		{0x1d97, 0x2263, "Lexar SSD NM790 4TB", chipMAP1602},
		{0x1234, 0x0001, "AIGO NVMe SSD P7000Z 2TB", chipMAP1602},
		{0x1234, 0x0001, "HP SSD FX900 Plus M.2 4TB", chipMAP1602},
		{0x144d, 0xa80a, "Samsung SSD 980 PRO 1TB", ""},
	} {
		if got := chip(Function{Vendor: tt.vendor, Device: tt.device, Controllers: []Controller{{Model: tt.model}}}); got != tt.want {
			t.Errorf("%04x:%04x %q is %q, want %q", tt.vendor, tt.device, tt.model, got, tt.want)
		}
	}
}
