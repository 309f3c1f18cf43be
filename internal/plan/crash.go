//go:build !labd_crash

package plan

// crashPoint is a place where a labd that is built for tests, with the tag labd_crash, can be made to die; see
// crash_tagged.go.
func crashPoint(point, int) {}
