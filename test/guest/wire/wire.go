// Package wire is what a guest's agent and the tests say to one another: JSON objects, one a line.
package wire

// MaxLine is the longest line, in bytes.
const MaxLine = 16 << 20

// What an agent can do.
const (
	Load  = "load"  // a module: Args are its file and parameters
	Write = "write" // Data to Path at Offset
	Read  = "read"  // Path
	Names = "names" // that match the pattern Path
	Touch = "touch" // a direct read of the disk Path, which is left to go on
	Run   = "run"   // a program, to its end
	Start = "start" // a program, in the background
)

// Request is one thing to do.
type Request struct {
	Do     string   `json:"do"`
	Args   []string `json:"args,omitempty"`
	Path   string   `json:"path,omitempty"`
	Offset int64    `json:"offset,omitempty"`
	Data   []byte   `json:"data,omitempty"`
	Create bool     `json:"create,omitempty"`
}

// Answer is what came of it. Error is why it could not be done; a program that failed has an Exit.
type Answer struct {
	Output []byte `json:"output,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`
	Exit   int    `json:"exit,omitempty"`
	Error  string `json:"error,omitempty"`
}
