package v1

// KindExecReport is the kind of the envelope that answers a stream.
const KindExecReport = "ExecReport"

// Protocols that a caller upgrades to.
const (
	// ProtocolExec carries the input as plain bytes, its end as a half-close, and the output as frames in Docker's format
	// (content type FramesType); the last frame is of stream 4 and holds an ExecResult.
	ProtocolExec = "labd-exec/1"
	// ProtocolTCP carries one TCP connection.
	ProtocolTCP = "tcp"
	// FramesType is the content type of frames.
	FramesType = "application/vnd.labd.frames"
)

// MaxCommand is how many words a command may have, MaxEnv how many variables.
const (
	MaxCommand = 1024
	MaxEnv     = 256
)

// ExecRequest asks for a command in a Docker container: POST /v1/containers/{ct}/{name}/exec.
type ExecRequest struct {
	Command []string `json:"cmd"`
	// TTY gives the command a terminal, Stdin its input.
	TTY   bool `json:"tty,omitempty"`
	Stdin bool `json:"stdin,omitempty"`
	// User is a name or number, with a group behind a colon; the container's own where it is empty. So is WorkDir.
	User    string `json:"user,omitempty"`
	WorkDir string `json:"workdir,omitempty"`
	// Env are variables as NAME=VALUE.
	Env  []string      `json:"env,omitempty"`
	Size *TerminalSize `json:"size,omitempty"`
}

// TerminalSize is a terminal's size in characters: POST /v1/exec/{id}/resize.
type TerminalSize struct {
	Rows    uint16 `json:"rows"`
	Columns uint16 `json:"columns"`
}

// ExecItem is a command that may be started once, within a minute: POST /v1/exec/{id}/start with an upgrade to ProtocolExec.
type ExecItem struct {
	ID string `json:"id"`
	// Container is the Docker container's name.
	Container string `json:"container"`
}

// ExecResult is the last frame of a stream. Without it the stream was cut.
type ExecResult struct {
	ExitCode int    `json:"exitCode"`
	Error    string `json:"error,omitempty"`
}
