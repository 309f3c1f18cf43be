package guards

import "testing"

func TestBetween(t *testing.T) {
	for n, want := range map[int]bool{0: false, 1: true, 9: true, 10: false} {
		if Between(n) != want {
			t.Error(n)
		}
	}
}

// It leaves some guards alone on purpose: 42 outside, eight, force.
func TestRefuse(t *testing.T) {
	if Refuse(0, false) == "" || Refuse(7, false) != "seven" || Refuse(3, false) != "" {
		t.Error("wrong")
	}
}
