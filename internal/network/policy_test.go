package network

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"labd/internal/statefile"
)

func TestPolicy(t *testing.T) {
	if err := DefaultPolicy().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(p *Policy)
		want   string
	}{
		{"mode", func(p *Policy) { p.Mode = "on" }, `"mode"`},
		{"pool", func(p *Policy) { p.Pools = []netip.Prefix{netip.MustParsePrefix("172.18.0.1/16")} }, `"pools": 172.18.0.1/16 has bits beyond its length; did you mean 172.18.0.0/16`},
		{"all the world", func(p *Policy) { p.From = prefixes("0.0.0.0/0") }, `"from": 0.0.0.0/0 is everything`},
		{"empty prefix", func(p *Policy) { p.From = []netip.Prefix{{}} }, `"from"`},
		{"ignore", func(p *Policy) { p.Ignore = []string{"101"} }, `"ignore"`},
		{"uplink", func(p *Policy) { p.Uplink = "eth+" }, `"uplink"`},
		{"max", func(p *Policy) { p.MaxNetworks = 0 }, `"max_networks"`},
		{"timeout", func(p *Policy) { p.Timeout = 0 }, `"timeout"`},
		{"resync", func(p *Policy) { p.Resync = 0 }, `"resync"`},
	} {
		p := DefaultPolicy()
		tt.change(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want …%s…", tt.name, err, tt.want)
		}
	}
	for _, tt := range []struct {
		mode, stored string
		want         bool
	}{
		{ModeObserve, "", false},
		{ModeObserve, SwitchOn, true},
		{ModeReconcile, "", true},
		{ModeReconcile, SwitchOff, false},
	} {
		if got := (Policy{Mode: tt.mode}).Active(tt.stored); got != tt.want {
			t.Errorf("mode %s, switch %q: active %v", tt.mode, tt.stored, got)
		}
	}
}

// What is damaged turns nothing on, gives nobody a prefix and stops nothing.
func TestState(t *testing.T) {
	s := NewState(filepath.Join(t.TempDir(), "state"))
	if value, err := s.Switch(); err != nil || value != "" || len(s.owners()) != 0 || len(s.forwarding()) != 0 {
		t.Fatalf("an empty state: %q, %v", value, err)
	}
	owners := Owners{prefixes("172.18.0.0/24")[0]: Owner{101, "web"}}
	for _, err := range []error{s.SetSwitch(SwitchOff), s.setOwners(owners), s.noteForwarding("eno1", true), s.noteForwarding("eno1", true), s.noteForwarding("a", true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	again := NewState(s.dir)
	if value, err := again.Switch(); err != nil || value != SwitchOff {
		t.Errorf("switch %q, %v", value, err)
	}
	if diff := cmp.Diff(owners, again.owners(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("owners, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "eno1"}, again.forwarding()); diff != "" {
		t.Errorf("forwarding, -want +got:\n%s", diff)
	}
	// A write that was cut off leaves what was there before it.
	whole, err := os.ReadFile(s.file(forwardingList))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file(forwardingList), whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"eno1"}, NewState(s.dir).forwarding()); diff != "" {
		t.Errorf("forwarding after a torn write, -want +got:\n%s", diff)
	}
	for _, name := range []string{ownersFile, forwardingList} {
		if err := os.Remove(s.file(name) + statefile.OldSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"", "{", `{"version":99,"value":{"172.18.0.0/24":"1/x"}}`, `{"version":1,"value":{"nonsense":"1/x"}}`, "\x00\xff"} {
		for _, name := range []string{ownersFile, switchFile, forwardingList} {
			if err := os.WriteFile(s.file(name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if value, err := s.Switch(); err != nil || value != SwitchOff || len(s.owners()) != 0 || len(s.forwarding()) != 0 {
			t.Errorf("%q: switch %q, %v, owners %v, forwarding %v", text, value, err, s.owners(), s.forwarding())
		}
	}
	if err := s.SetSwitch(""); err != nil {
		t.Fatal(err)
	}
	if value, err := s.Switch(); err != nil || value != "" {
		t.Errorf("forgotten: %q, %v", value, err)
	}
}
