package lxc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrForeignPeer says that the process behind a container's socket does not live in that container: the socket of the
// host's own Docker bound into the container, for instance.
var ErrForeignPeer = errors.New("the process behind the socket does not live in this container")

// ErrNotSocket says that something else than a socket lies at the path.
var ErrNotSocket = errors.New("not a socket")

// OpenPath opens a path inside the container with O_PATH. Symbolic links resolve inside the container's root, ".."
// cannot leave it and links of /proc are not followed, whatever the container puts there (openat2(2)). A container may
// also mount a file system there that never answers: the call then returns with ctx, and the thread it blocks stays
// lost until that file system lets go. The caller closes the file.
func (c *Container) OpenPath(ctx context.Context, path string) (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result, 1)
	go func() {
		f, err := openInRoot(c.root, path)
		done <- result{f, err}
	}()
	select {
	case r := <-done:
		return r.file, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.file != nil {
				_ = r.file.Close()
			}
		}()
		return nil, &os.PathError{Op: "open in the container", Path: path, Err: ctx.Err()}
	}
}

// maxRetries bounds how often a lookup is repeated that a rename disturbed; only a hostile container renames so fast.
const maxRetries = 100

func openInRoot(root *os.File, path string) (*os.File, error) {
	path = strings.TrimLeft(path, "/")
	for try := 0; ; try++ {
		fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		// EAGAIN: something was renamed on the way and the kernel could not be sure (openat2(2)).
		if (errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN)) && try < maxRetries {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open in the container", Path: "/" + path, Err: err}
		}
		return os.NewFile(uintptr(fd), "/"+path), nil
	}
}

// Socket is a unix socket inside a container.
type Socket struct {
	file      *os.File
	container *Container
}

// Socket opens a socket inside the container. It fails with an error that wraps fs.ErrNotExist, or with ErrNotSocket.
func (c *Container) Socket(ctx context.Context, path string) (*Socket, error) {
	f, err := c.OpenPath(ctx, path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if info.Mode()&os.ModeSocket == 0 {
		return nil, errors.Join(fmt.Errorf("%s in container %d: %w", path, c.ID, ErrNotSocket), f.Close())
	}
	return &Socket{file: f, container: c}, nil
}

// Address is the path that leads to the opened socket and nowhere else, as long as the Socket is open.
func (s *Socket) Address() string { return fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()) }

// Close releases the socket.
func (s *Socket) Close() error { return s.file.Close() }

// Dial connects, and makes sure that the process that listens lives in the container's network and PID namespaces.
func (s *Socket) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", s.Address())
	if err != nil {
		return nil, fmt.Errorf("dial a socket in container %d: %w", s.container.ID, err)
	}
	if err := s.checkPeer(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (s *Socket) checkPeer(conn net.Conn) error {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return ErrForeignPeer
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	pidfd := -1
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		// From kernel 6.5 on; it pins the very process that called listen(2), where a PID could be used anew.
		if v, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			pidfd = v
		}
	}); err != nil || credErr != nil {
		return errors.Join(err, credErr)
	}
	if pidfd >= 0 {
		defer unix.Close(pidfd)
	}
	if cred.Pid <= 0 { // a process of another PID namespace that this one cannot see
		return ErrForeignPeer
	}
	dir := filepath.Join(s.container.proc, strconv.Itoa(int(cred.Pid)))
	netNS, err1 := namespaceOf(filepath.Join(dir, "ns/net"))
	pidNS, err2 := namespaceOf(filepath.Join(dir, "ns/pid"))
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("%w: %w", ErrForeignPeer, err)
	}
	if pidfd >= 0 {
		// Signal 0 tells whether the pinned process lives; if so, the namespaces read by its PID are its own.
		if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil {
			return fmt.Errorf("%w: it ended", ErrForeignPeer)
		}
	}
	if netNS != s.container.net || pidNS != s.container.pidNS {
		return ErrForeignPeer
	}
	return nil
}
