package lxc

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrForeignPeer says that the process behind a socket does not live where it must: the socket of the host's own Docker bound
// into a container, for instance, or a program that poses as a container's monitor.
var ErrForeignPeer = errors.New("the process behind the socket is not the expected one")

// peerOf returns who called listen(2) at the other end (SO_PEERCRED, unix(7)).
func peerOf(conn *net.UnixConn) (cred *unix.Ucred, err error) {
	err = control(conn, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	return cred, err
}

// checkPeer makes sure that the process that called listen(2) lives in the container's network and PID namespaces.
func (c *Container) checkPeer(conn net.Conn) error {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return ErrForeignPeer
	}
	cred, err := peerOf(unixConn)
	if err != nil {
		return err
	}
	var pidfd int
	// From kernel 6.5 on; it pins the very process, where a PID could be used anew.
	noPidfd := control(unixConn, func(fd int) (err error) {
		pidfd, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		return err
	})
	if noPidfd == nil {
		defer unix.Close(pidfd)
	}
	// Of a process of another PID namespace, which this one cannot see, the PID is 0, and there is no /proc/0.
	dir := filepath.Join(c.host.Procfs, strconv.Itoa(int(cred.Pid)), "ns")
	netNS, err1 := namespaceOf(filepath.Join(dir, "net"))
	pidNS, err2 := namespaceOf(filepath.Join(dir, "pid"))
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("%w: %w", ErrForeignPeer, err)
	}
	if noPidfd == nil {
		// Signal 0 tells whether the pinned process lives; if so, the namespaces read by its PID are its own.
		if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil {
			return fmt.Errorf("%w: it ended", ErrForeignPeer)
		}
	}
	if netNS != c.net || pidNS != c.pidNS {
		return ErrForeignPeer
	}
	return nil
}
