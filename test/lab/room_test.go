package lab

import (
	"strings"
	"testing"
)

func TestRoom(t *testing.T) {
	for _, tt := range []struct {
		room room
		want []string
	}{
		{room{500, 4 << 30}, nil},
		{room{-1, -1}, nil},
		{room{3, 4 << 30}, []string{"only 3 inotify instances", "max_user_instances"}},
		{room{0, 100 << 20}, []string{"only 0 inotify instances", "only 100 MiB of memory"}},
	} {
		got := tt.room.short()
		if (got == "") != (tt.want == nil) {
			t.Errorf("%+v: %q", tt.room, got)
		}
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%+v: no %q in %q", tt.room, want, got)
			}
		}
	}
	if got := memAvailable("MemTotal:  2 kB\nMemAvailable:    1024 kB\n"); got != 1<<20 {
		t.Errorf("MemAvailable: %d", got)
	}
	if got := memAvailable("nothing"); got != -1 {
		t.Errorf("without MemAvailable: %d", got)
	}
	if left := roomLeft(); left.inotify < 0 || left.memory <= 0 {
		t.Errorf("of this machine nothing is known: %+v", left)
	}
}
