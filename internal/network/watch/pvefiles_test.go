package watch

import (
	"slices"
	"testing"
)

func TestChangedGuests(t *testing.T) {
	before := map[string]string{"lxc/101.conf": "1", "firewall/102.fw": "1", "firewall/cluster.fw": "1", "lxc/103.conf": "1"}
	now := map[string]string{"lxc/101.conf": "2", "firewall/102.fw": "1", "firewall/cluster.fw": "2", "lxc/104.conf": "1"}
	got := changedGuests(before, now)
	slices.Sort(got)
	if !slices.Equal(got, []int{0, 101, 103, 104}) {
		t.Errorf("got %v", got)
	}
}
