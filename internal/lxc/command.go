package lxc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"labd/internal/host"
)

// ErrNotRunning says that the container's monitor does not listen.
var ErrNotRunning = errors.New("the container is not running")

// commandTimeout bounds one exchange with a container's monitor.
const commandTimeout = 2 * time.Second

// Commands of the monitor (lxc, src/lxc/commands.h, enum lxc_cmd_t).
const (
	cmdGetInitPID   = 4
	cmdGetInitPIDFD = 18
)

// reply is struct lxc_cmd_rsp: int ret, int datalen, void *data, in the machine's own layout.
type reply struct {
	ret     int32
	datalen int32
	data    uint64
}

const replySize = 16

func parseReply(b []byte) (reply, error) {
	if len(b) != replySize {
		return reply{}, fmt.Errorf("an answer of %d bytes instead of %d", len(b), replySize)
	}
	return reply{
		ret:     int32(binary.NativeEndian.Uint32(b)),
		datalen: int32(binary.NativeEndian.Uint32(b[4:])),
		data:    binary.NativeEndian.Uint64(b[8:]),
	}, nil
}

// ask sends one command to the container's monitor. fd is a file descriptor that came with the answer, or -1.
func ask(ctx context.Context, h *host.Host, id int, command int32) (r reply, fd int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ask the monitor of container %d: %w", id, err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", "@"+filepath.Join(h.LXC, strconv.Itoa(id), "command"))
	if errors.Is(err, syscall.ECONNREFUSED) {
		return reply{}, -1, ErrNotRunning
	}
	if err != nil {
		return reply{}, -1, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return reply{}, -1, err
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return reply{}, -1, errors.New("not a unix socket")
	}
	if err := checkMonitor(unixConn); err != nil {
		return reply{}, -1, err
	}
	// The monitor wants to know who asks, and takes credentials only from a socket that passes them.
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return reply{}, -1, err
	}
	var optErr error
	if err := raw.Control(func(s uintptr) { optErr = unix.SetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); err != nil || optErr != nil {
		return reply{}, -1, errors.Join(err, optErr)
	}
	request := make([]byte, replySize) // struct lxc_cmd_req: int cmd, int datalen, const void *data
	binary.NativeEndian.PutUint32(request, uint32(command))
	if _, _, err := unixConn.WriteMsgUnix(request, unix.UnixCredentials(&unix.Ucred{
		Pid: int32(unix.Getpid()), Uid: uint32(unix.Getuid()), Gid: uint32(unix.Getgid()),
	}), nil); err != nil {
		return reply{}, -1, err
	}
	buf, oob := make([]byte, replySize), make([]byte, 256)
	n, oobn, _, _, err := unixConn.ReadMsgUnix(buf, oob)
	if err != nil {
		return reply{}, -1, err
	}
	fd, err = takeFD(oob[:oobn])
	if err != nil {
		return reply{}, -1, err
	}
	r, err = parseReply(buf[:n])
	if err == nil && r.ret < 0 {
		err = fmt.Errorf("it answered: %w", syscall.Errno(-r.ret))
	}
	if err != nil && fd >= 0 {
		_ = unix.Close(fd)
		fd = -1
	}
	return r, fd, err
}

// checkMonitor makes sure that root listens, as a container's monitor is root's: anybody of the host may listen on an
// abstract name, and whoever answers here says which process, and so which namespaces, labd takes for the container's.
// Root of an unprivileged container is another user on the host. The process itself is not looked at: one that was started
// by lxc-start -d listened before it became the monitor (src/lxc/lxccontainer.c, do_lxcapi_start).
func checkMonitor(conn *net.UnixConn) error {
	cred, err := peerOf(conn)
	if err != nil {
		return err
	}
	if cred.Uid != 0 {
		return fmt.Errorf("%w: user %d listens there, and a monitor is root's", ErrForeignPeer, cred.Uid)
	}
	return nil
}

// takeFD returns the one file descriptor of a control message, closing any further ones.
func takeFD(oob []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, err
	}
	fd := -1
	for _, m := range messages {
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fd, err
		}
		for _, f := range fds {
			if fd >= 0 {
				_ = unix.Close(f)
				continue
			}
			fd = f
			unix.CloseOnExec(fd)
		}
	}
	return fd, nil
}

// initProcess returns the container's init as a PID of labd's PID namespace and a pidfd that pins it. The PID is
// asked for again after the pidfd was opened, as PVE's open_lxc_pid does, so that a PID used anew meanwhile is noticed.
func initProcess(ctx context.Context, h *host.Host, id int) (pid, pidfd int, err error) {
	first, stray, err := ask(ctx, h, id, cmdGetInitPID)
	if stray >= 0 {
		_ = unix.Close(stray)
	}
	if err != nil {
		return 0, -1, err
	}
	pid = int(int64(first.data)) // the PID travels in the pointer field
	if pid <= 1 {
		return 0, -1, fmt.Errorf("container %d has no init process yet: %w", id, ErrNotRunning)
	}
	// The monitor's own pidfd cannot be of a process that came later; older LXC does not know the command.
	if _, pidfd, _ = ask(ctx, h, id, cmdGetInitPIDFD); pidfd < 0 {
		if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
			return 0, -1, fmt.Errorf("pin the init process of container %d: %w", id, err)
		}
	}
	again, stray, err := ask(ctx, h, id, cmdGetInitPID)
	if stray >= 0 {
		_ = unix.Close(stray)
	}
	if err == nil && again.data != first.data {
		err = fmt.Errorf("container %d restarted meanwhile: %w", id, ErrNotRunning)
	}
	if err != nil {
		_ = unix.Close(pidfd)
		return 0, -1, err
	}
	return pid, pidfd, nil
}
