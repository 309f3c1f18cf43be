package pve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// lockWait is how long PVE waits for a lock before it gives up.
	lockWait = 10 * time.Second
	// lockHold is how long PVE lets a holder work; the cluster file system takes
	// a lock away after 120 s, when somebody else asks for it.
	lockHold = 60 * time.Second
)

// clusterLock is a lock of PVE's cluster file system: a directory below
// priv/lock, which one node at a time can make.
// Source: PVE::Cluster::cfs_lock; pve-cluster, memdb.c.
type clusterLock struct {
	dir      string
	acquired time.Time
}

// lockCluster takes the lock of that name, which keeps out PVE on all nodes. root
// is /etc/pve. It waits as PVE does, asking each second that a lock whose holder
// died be taken away. It fails with ErrLockTimeout or ErrNoQuorum.
func lockCluster(ctx context.Context, root, name string, wait time.Duration) (*clusterLock, error) {
	l := &clusterLock{dir: filepath.Join(root, "priv/lock", name)}
	deadline := time.Now().Add(wait)
	for {
		err := os.Mkdir(l.dir, 0o755)
		switch {
		case err == nil:
			l.acquired = time.Now()
			return l, nil
		case errors.Is(err, fs.ErrPermission), errors.Is(err, errReadOnly):
			return nil, fmt.Errorf("lock %s: %w: %w", name, ErrNoQuorum, err)
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("lock %s: %w: %w", name, ErrClusterFSDown, err)
		case !errors.Is(err, fs.ErrExist):
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, fmt.Errorf("lock %s for %s: %w", name, wait, ErrLockTimeout)
		}
		// The request is refused while the lock is young, and that is no error.
		_ = os.Chtimes(l.dir, time.Unix(0, 0), time.Unix(0, 0))
		t := time.NewTimer(min(left, time.Second))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("lock %s: %w", name, ctx.Err())
		case <-t.C:
		}
	}
}

// renew makes the lock young again. It fails when the lock was lost, or held for
// longer than PVE allows: then nothing may be written any more.
func (l *clusterLock) renew() error {
	if held := time.Since(l.acquired); held > lockHold {
		return fmt.Errorf("the lock was held for %s, longer than PVE allows", held.Round(time.Second))
	}
	now := time.Now()
	if err := os.Chtimes(l.dir, now, now); err != nil {
		return fmt.Errorf("keep the lock: %w", err)
	}
	return nil
}

// release gives the lock back. One that is gone already was taken over by
// somebody, whose it is now.
func (l *clusterLock) release() error {
	if time.Since(l.acquired) > lockHold {
		return nil
	}
	if err := os.Remove(l.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give the lock back: %w", err)
	}
	return nil
}
