package health

import "testing"

func TestOrder(t *testing.T) {
	levels := Levels()
	for i, a := range levels {
		for j, b := range levels {
			if a.Worse(b) != (i > j) {
				t.Errorf("%s worse than %s: %t", a, b, a.Worse(b))
			}
		}
	}
	for _, tt := range []struct {
		of   []Level
		want Level
	}{
		{nil, OK},
		{[]Level{OK, OK}, OK},
		{[]Level{OK, Unknown, Info}, Unknown},
		{[]Level{Warn, Fail, OK}, Fail},
		{[]Level{OK, "no such word"}, "no such word"},
	} {
		if got := Worst(tt.of...); got != tt.want {
			t.Errorf("worst of %v: %s, want %s", tt.of, got, tt.want)
		}
	}
	if Level("no such word").Compare(Unknown) != 0 {
		t.Error("a word that is no level is not as unknown")
	}
}
