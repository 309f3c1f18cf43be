// Package front is the client of a simulated PVE's command line: a program
// called pvesh or pveum that passes its words on to the simulator, which
// listens beside it.
package front

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Socket is the name of the simulator's socket in the programs' directory.
const Socket = "pvesim.sock"

// Programs are the names under which Run answers.
func Programs() []string { return []string{"pvesh", "pveum"} }

// Request is one run of a program.
type Request struct {
	Program string   `json:"program"`
	Args    []string `json:"args"`
}

// Result is how it ends.
type Result struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Code   int    `json:"code"` // exit status
	Killed bool   `json:"killed"`
}

// Run does what the program is called for. ok is false when its name is none of
// Programs; a test binary then goes on as such.
func Run(args []string, stdout, stderr io.Writer) (code int, ok bool) {
	program := filepath.Base(args[0])
	if !slices.Contains(Programs(), program) {
		return 0, false
	}
	result, err := ask(args[0], Request{Program: program, Args: args[1:]})
	if err != nil {
		fmt.Fprintf(stderr, "%s: the simulator does not answer: %v\n", program, err)
		return 255, true
	}
	fmt.Fprint(stdout, result.Stdout)
	fmt.Fprint(stderr, result.Stderr)
	if result.Killed {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return result.Code, true
}

// Exit ends the process at once. os.Exit would make a program that was built with
// the race detector wait for a second.
func Exit(code int) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(code), 0, 0)
}

func ask(self string, r Request) (result Result, err error) {
	if !strings.Contains(self, "/") {
		// A shell gives the bare name; os.Executable would follow the link.
		if self, err = exec.LookPath(self); err != nil {
			return result, err
		}
	}
	conn, err := net.Dial("unix", filepath.Join(filepath.Dir(self), Socket))
	if err != nil {
		return result, err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return result, err
	}
	return result, json.NewDecoder(conn).Decode(&result)
}
