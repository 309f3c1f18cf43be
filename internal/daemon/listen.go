package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"labd/internal/server"
)

// listenUnix opens labd's socket: readable for root and group labd where that group exists. A socket that a dead labd
// left behind is replaced; one that answers is not.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("open the socket: %w", err)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("open the socket %s: another labd answers there", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("replace the socket of a dead labd: %w", err)
		}
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the socket: %w", err)
	}
	if err := shareWithGroup(path); err != nil {
		return nil, errors.Join(fmt.Errorf("open the socket: %w", err), listener.Close())
	}
	return listener, nil
}

// shareWithGroup lets group labd connect; who may do what is decided by the peer's credentials.
func shareWithGroup(path string) error {
	group, err := user.LookupGroup(server.Group)
	if err != nil {
		return os.Chmod(path, 0o600)
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}
