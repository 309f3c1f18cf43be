package policy

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	var d Duration
	if err := d.UnmarshalText([]byte("1m30s")); err != nil || time.Duration(d) != 90*time.Second {
		t.Errorf("%v, %v", d, err)
	}
	if text, err := d.MarshalText(); err != nil || string(text) != "1m30s" {
		t.Errorf("%s, %v", text, err)
	}
	if err := d.UnmarshalText([]byte("90")); err == nil {
		t.Error("a number without unit is a duration")
	}
	if d := Duration(time.Minute); d.Within("k", time.Second, time.Hour) != nil || d.Within("k", time.Hour, 2*time.Hour) == nil || d.Within("k", 0, time.Second) == nil {
		t.Error("limits")
	}
}

func TestPatterns(t *testing.T) {
	if err := CheckPatterns("k", []string{"usb*", "lxc/101"}); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "[", `\`} {
		if CheckPatterns("k", []string{bad}) == nil {
			t.Errorf("%q is a pattern", bad)
		}
	}
	patterns := []string{"network/101/*", "usb?"}
	for name, want := range map[string]bool{"network/101/web": true, "network/102/web": false, "usb1": true, "usb12": false, "network/101/a/b": false} {
		if Matches(patterns, name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
