//go:build race

package plan

// raceEnabled says that the race detector, which takes twenty times as long, is on.
const raceEnabled = true
