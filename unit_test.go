package labd_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"labd/internal/host"
)

// The unit bounds labd's memory, in an order in which each limit comes before the next harder one, and every wait of systemd
// for labd.
func TestUnitHasLimits(t *testing.T) {
	data, err := os.ReadFile("systemd/labd.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := host.ParseUnit(data)
	size := func(text string) int {
		n, err := strconv.Atoi(strings.TrimRight(text, "MiB"))
		if err != nil || !strings.ContainsRune(text, 'M') {
			t.Errorf("%q is no number of megabytes", text)
		}
		return n
	}
	garbage := size(strings.TrimPrefix(unit.Value("Service", "Environment"), "GOMEMLIMIT="))
	high, most := size(unit.Value("Service", "MemoryHigh")), size(unit.Value("Service", "MemoryMax"))
	if garbage*2 > high || high >= most || most > 1024 {
		t.Errorf("GOMEMLIMIT %d, MemoryHigh %d, MemoryMax %d", garbage, high, most)
	}
	for key, want := range map[string]string{"OOMPolicy": "continue", "WatchdogSec": "30s", "TimeoutStopSec": "100s", "Restart": "on-failure"} {
		if got := unit.Value("Service", key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
}
