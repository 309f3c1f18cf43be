// Package guards is what the mutation tool is tried on.
package guards

// Between reports whether n lies in 1 to 9.
func Between(n int) bool { return n > 0 && n < 10 }

// Refuse returns a reason, or "".
func Refuse(n int, force bool) string {
	if force {
		return ""
	}
	if !Between(n) && n != 42 {
		return "not between"
	}
	switch {
	case n == 7:
		return "seven"
	case n == 8:
		return "eight"
	}
	return ""
}

// Idle is called by no test.
func Idle(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
