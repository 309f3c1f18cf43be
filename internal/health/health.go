// Package health holds the one order of badness: how well something is, from ok to fail. Severities, verdicts, the tree
// and labctl's colours all take it from here.
package health

import "slices"

// Level is how well something is.
type Level string

// Levels. Unknown is worse than anything harmless: what labd cannot tell is never well.
const (
	OK      Level = "ok"
	Info    Level = "info"
	Unknown Level = "unknown"
	Warn    Level = "warn"
	Fail    Level = "fail"
)

// Levels returns all levels, from well to bad.
func Levels() []Level { return []Level{OK, Info, Unknown, Warn, Fail} }

// Values returns all levels, as the word types of api/v1 do.
func (Level) Values() []Level { return Levels() }

// rank returns the place of l in the order; a word that is no level counts as unknown.
func (l Level) rank() int {
	if i := slices.Index(Levels(), l); i >= 0 {
		return i
	}
	return slices.Index(Levels(), Unknown)
}

// Compare orders levels from well to bad, as cmp.Compare does.
func (l Level) Compare(m Level) int { return l.rank() - m.rank() }

// Worse reports whether l is worse than m.
func (l Level) Worse(m Level) bool { return l.Compare(m) > 0 }

// Worst returns the worst of levels; OK when there is none.
func Worst(levels ...Level) Level {
	worst := OK
	for _, l := range levels {
		if l.Worse(worst) {
			worst = l
		}
	}
	return worst
}
