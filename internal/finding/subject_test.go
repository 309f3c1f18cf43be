package finding

import (
	"slices"
	"testing"
	"time"
)

// What the constructors put together, the parsers take apart.
func TestSubject(t *testing.T) {
	for _, tt := range []struct {
		subject Subject
		text    string
		kind    Kind
		parts   []string
	}{
		{NVMe("0000:01:00.0"), "nvme/0000:01:00.0", KindNVMe, []string{"0000:01:00.0"}},
		{Storage("pve1", "usb1"), "storage/pve1/usb1", KindStorage, []string{"pve1", "usb1"}},
		{LXC("101"), "lxc/101", KindLXC, []string{"101"}},
		{Network("101", "web_default"), "network/101/web_default", KindNetwork, []string{"101", "web_default"}},
		{Network("101", "a/b"), "network/101/a/b", KindNetwork, []string{"101", "a/b"}},
		{Route("10.118.3.0/24"), "route/10.118.3.0/24", KindRoute, []string{"10.118.3.0/24"}},
		{PVE("pve1"), "pve/pve1", KindPVE, []string{"pve1"}},
		{Labd("notify/mail"), "labd/notify/mail", KindLabd, []string{"notify/mail"}},
		{"storage/pve1", "storage/pve1", KindStorage, nil},
		{"storage//usb1", "storage//usb1", KindStorage, nil},
		{"nvme/", "nvme/", KindNVMe, nil},
		{"disk/sda", "disk/sda", "disk", nil},
		{"", "", "", nil},
	} {
		if string(tt.subject) != tt.text || tt.subject.Kind() != tt.kind || !slices.Equal(tt.subject.Parts(), tt.parts) {
			t.Errorf("%q: text %q, kind %q, parts %q", tt.text, tt.subject, tt.subject.Kind(), tt.subject.Parts())
		}
		want := ""
		if tt.parts != nil {
			want = tt.parts[len(tt.parts)-1]
		}
		if tt.subject.Name() != want {
			t.Errorf("%q: name %q, want %q", tt.text, tt.subject.Name(), want)
		}
	}
}

// A registry is told of findings, and leaves the slice that they came in as it is.
func TestUpdateLeavesTheSlice(t *testing.T) {
	r, err := NewRegistry(start, Options{Immediate: true})
	if err != nil {
		t.Fatal(err)
	}
	fs := []Finding{{Code: NVMeDead, Subject: NVMe("0000:01:00.0"), Severity: Fail}}
	r.Update(start.Add(time.Second), fs, KindNVMe)
	if !fs[0].Since.IsZero() {
		t.Errorf("the caller's finding was changed: %+v", fs[0])
	}
	if got := r.Annotate(start.Add(2*time.Second), fs); !got[0].Since.Equal(start.Add(time.Second)) {
		t.Errorf("since %v", got[0].Since)
	}
}

func FuzzSubject(f *testing.F) {
	f.Add("storage/pve1/usb1")
	f.Add("route/10.0.0.0/8")
	f.Fuzz(func(t *testing.T, text string) {
		s := Subject(text)
		if parts := s.Parts(); parts != nil && subject(s.Kind(), parts...) != s {
			t.Errorf("%q is taken apart into %q", text, parts)
		}
	})
}
