package plan

// point is a place in the life of a step at which a crash is tried.
type point string

// Points: before anything of the step, with its intent on disk, with the change made, with that recorded.
const (
	beforeStep  point = "before"
	intentKept  point = "intent"
	changeMade  point = "changed"
	doneWritten point = "done"
)
