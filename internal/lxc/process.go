package lxc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoProcess says that no process of a container has a PID.
var ErrNoProcess = errors.New("no such process in this container")

// maxPIDDepth is how many PID namespaces deep below a container a process of it is looked for: Docker in Docker is 2.
const maxPIDDepth = 4

// ProcessNetNS opens the network namespace of a process that has pid inside the container, as Docker there names it.
// The number is not trusted: a process counts only if the kernel says that its PID namespace is the container's or lies
// below it (NS_GET_PARENT, ioctl_ns(2)). The caller closes the file. It fails with ErrNoProcess.
func (c *Container) ProcessNetNS(ctx context.Context, pid int) (*os.File, error) {
	entries, err := os.ReadDir(c.host.Procfs)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		dir := filepath.Join(c.host.Procfs, e.Name())
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil || !hasPIDBelow(status, pid) {
			continue
		}
		file, err := c.netNSOf(dir, pid)
		if errors.Is(err, ErrNoProcess) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		return file, err
	}
	return nil, fmt.Errorf("process %d of container %d: %w", pid, c.ID, ErrNoProcess)
}

// netNSOf opens the network namespace of the process in dir, if it is the container's process with that pid.
func (c *Container) netNSOf(dir string, pid int) (*os.File, error) {
	// What is opened below this descriptor is of this very process, also when its PID is used anew.
	process, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer process.Close()
	held := filepath.Join("/proc/self/fd", strconv.Itoa(int(process.Fd())))
	status, err := os.ReadFile(filepath.Join(held, "status"))
	if err != nil {
		return nil, err
	}
	pidNS, err := os.Open(filepath.Join(held, "ns/pid"))
	if err != nil {
		return nil, err
	}
	depth, err := c.depthBelow(pidNS)
	if err != nil {
		return nil, err
	}
	// NSpid names the PID in each namespace, the outermost first: the container's own is depth before the last.
	if pids := nsPIDs(status); depth >= len(pids) || pids[len(pids)-1-depth] != pid {
		return nil, ErrNoProcess
	}
	return os.Open(filepath.Join(held, "ns/net"))
}

// depthBelow returns how many levels a PID namespace lies below the container's: 0 for the container's own. It closes the
// file, and fails with ErrNoProcess where the namespace is none of the container's.
func (c *Container) depthBelow(namespace *os.File) (int, error) {
	for depth := range maxPIDDepth + 1 {
		var st unix.Stat_t
		if err := unix.Fstat(int(namespace.Fd()), &st); err != nil {
			return 0, errors.Join(err, namespace.Close())
		}
		if (NamespaceID{Dev: uint64(st.Dev), Ino: st.Ino}) == c.pidNS {
			return depth, namespace.Close()
		}
		parent, err := unix.IoctlRetInt(int(namespace.Fd()), unix.NS_GET_PARENT)
		_ = namespace.Close()
		if err != nil { // EPERM above labd's own namespace
			return 0, ErrNoProcess
		}
		namespace = os.NewFile(uintptr(parent), "parent PID namespace")
	}
	return 0, errors.Join(ErrNoProcess, namespace.Close())
}

// nsPIDs reads the line NSpid of /proc/PID/status (proc_pid_status(5)).
func nsPIDs(status []byte) []int {
	for line := range bytes.Lines(status) {
		rest, ok := strings.CutPrefix(string(line), "NSpid:")
		if !ok {
			continue
		}
		var pids []int
		for _, field := range strings.Fields(rest) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil
			}
			pids = append(pids, pid)
		}
		return pids
	}
	return nil
}

// hasPIDBelow reports whether a process is worth a closer look: pid is one of its PIDs below the outermost namespace.
func hasPIDBelow(status []byte, pid int) bool {
	for i, have := range nsPIDs(status) {
		if i > 0 && have == pid {
			return true
		}
	}
	return false
}
