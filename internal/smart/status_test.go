package smart

import "testing"

func TestStatusText(t *testing.T) {
	for status, want := range map[uint16]string{0x281: "unrecovered read error", 0x4281: "unrecovered read error", 0x6002: "invalid field in the command", 0x1c0: "status 0x1c0"} {
		if got := StatusText(status); got != want {
			t.Errorf("0x%x: %q, want %q", status, got, want)
		}
	}
	if !IsMediaError(0x4281) || IsMediaError(0x002) || IsMediaError(0x371) {
		t.Error("media errors are those of type 2h")
	}
}
