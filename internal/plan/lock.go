package plan

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Lock is held by the one labd that may apply plans on a host.
type Lock struct{ f *os.File }

// ErrLocked says that another labd holds the lock.
var ErrLocked = errors.New("another labd may apply plans on this host")

// AcquireLock takes the lock file (flock(2)) without waiting. The lock ends with the process.
func AcquireLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("take the lock %s: %w", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("take the lock %s: %w", path, ErrLocked)
		}
		return nil, fmt.Errorf("take the lock %s: %w", path, err)
	}
	return &Lock{f}, nil
}

// Release gives the lock up.
func (l *Lock) Release() error { return l.f.Close() }
