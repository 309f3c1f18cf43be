package lxc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"labd/internal/host"
)

// ErrNotSocket says that something else than a socket lies at the path.
var ErrNotSocket = errors.New("not a socket")

// OpenPath opens a path inside the container with O_PATH. Symbolic links resolve inside the container's root, ".."
// cannot leave it and links of /proc are not followed, whatever the container puts there (openat2(2)). A container may
// also mount a file system there that never answers: the call then returns with ctx and host.ErrHung, and the path is not
// looked up again before that file system lets go. The caller closes the file.
func (c *Container) OpenPath(ctx context.Context, path string) (*os.File, error) {
	return host.Bounded(ctx, c.host, c.key(path), func() (*os.File, error) { return openInRoot(c.root, path) }, closeLate)
}

// key names a path of the container among what may hang on the host.
func (c *Container) key(path string) string { return fmt.Sprintf("lxc/%d:%s", c.ID, path) }

func closeLate(f *os.File) { _ = f.Close() }

// maxRetries bounds how often a lookup is repeated that a rename disturbed; only a hostile container renames so fast.
const maxRetries = 100

func openInRoot(root *os.File, path string) (*os.File, error) {
	path = strings.TrimLeft(path, "/")
	for try := 0; ; try++ {
		var fd int
		err := control(root, func(dir int) (err error) {
			fd, err = unix.Openat2(dir, path, &unix.OpenHow{
				Flags:   unix.O_PATH | unix.O_CLOEXEC,
				Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
			})
			return err
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
	path      string
	container *Container
}

// control calls f with the descriptor of a file or connection, which stays its own until f returns.
func control(file syscall.Conn, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Socket opens a socket inside the container, as OpenPath does. It fails with an error that wraps fs.ErrNotExist, or with
// ErrNotSocket.
func (c *Container) Socket(ctx context.Context, path string) (*Socket, error) {
	// Its kind is the file system's answer too, so it may hang as the lookup may.
	f, err := host.Bounded(ctx, c.host, c.key(path), func() (*os.File, error) { return openSocket(c.root, path) }, closeLate)
	if err != nil {
		return nil, fmt.Errorf("open a socket in container %d: %w", c.ID, err)
	}
	return &Socket{file: f, path: path, container: c}, nil
}

func openSocket(root *os.File, path string) (*os.File, error) {
	f, err := openInRoot(root, path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if info.Mode()&os.ModeSocket == 0 {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, ErrNotSocket), f.Close())
	}
	return f, nil
}

// Address is the path that leads to the opened socket and nowhere else, as long as the Socket is open.
func (s *Socket) Address() string { return fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()) }

// Close releases the socket.
func (s *Socket) Close() error { return s.file.Close() }

// Dial connects, and makes sure that the process that listens lives in the container's network and PID namespaces. The
// file system that the socket lies on is asked for leave and may hang, as in OpenPath.
func (s *Socket) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := host.Bounded(ctx, s.container.host, s.container.key(s.path)+" connect", func() (conn net.Conn, err error) {
		err = control(s.file, func(fd int) (err error) {
			var d net.Dialer
			conn, err = d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
			return err
		})
		return conn, err
	}, func(late net.Conn) { _ = late.Close() })
	if err != nil {
		return nil, fmt.Errorf("dial a socket in container %d: %w", s.container.ID, err)
	}
	if err := s.container.checkPeer(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
