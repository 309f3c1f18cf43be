package pvesim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"labd/internal/pve"
)

// ClusterFS is the cluster file system; *pmxcfs.FS is one.
type ClusterFS interface {
	// Start mounts it, Stop unmounts it.
	Start() error
	Stop() error
	// SetQuorum gives or takes the quorum.
	SetQuorum(quorate bool)
}

// clusterFSUp reports whether pmxcfs "runs": the link /etc/pve/local exists.
func (s *Server) clusterFSUp() bool {
	_, err := os.Readlink(s.path("etc/pve/local"))
	return err == nil
}

// SetClusterFS stops and starts pmxcfs: without it /etc/pve is an empty
// directory.
func (s *Server) SetClusterFS(up bool) error {
	dir, aside := s.path("etc/pve"), s.path("etc/.pve.pvesim")
	if up == s.clusterFSUp() {
		return nil
	}
	if s.cfg.ClusterFS != nil && up {
		return s.cfg.ClusterFS.Start()
	}
	if s.cfg.ClusterFS != nil {
		return s.cfg.ClusterFS.Stop()
	}
	if up {
		if err := os.Remove(dir); err != nil {
			return fmt.Errorf("pvesim: start pmxcfs: %w", err)
		}
		return os.Rename(aside, dir)
	}
	if err := os.Rename(dir, aside); err != nil {
		return fmt.Errorf("pvesim: stop pmxcfs: %w", err)
	}
	return os.Mkdir(dir, 0o755)
}

// SetQuorum gives or takes the quorum of a cluster of this node and one that is
// offline. A plain directory stays writable; only PVE's API and .members tell.
func (s *Server) SetQuorum(quorate bool) error {
	if s.cfg.ClusterFS != nil {
		s.cfg.ClusterFS.SetQuorum(quorate)
		return nil
	}
	q := 0
	if quorate {
		q = 1
	}
	return s.writePVE(".members", fmt.Sprintf(`{"nodename":%q,"version":2,`+
		`"cluster":{"name":"lab","version":2,"nodes":2,"quorate":%d},`+
		`"nodelist":{%q:{"id":1,"online":1,"ip":"127.0.0.1"}}}`, s.cfg.Node, q, s.cfg.Node))
}

func (s *Server) quorate() bool {
	c, err := pve.ReadCluster(pve.DirFS(s.path("etc/pve")))
	return err == nil && c.Quorate
}

// locked runs do under a lock of the cluster file system: a directory that is
// made and removed. waiting hears of each further attempt.
// Source: PVE::Cluster::cfs_lock.
func (s *Server) locked(name string, waiting func(string), do func() error) error {
	const attempts = 10
	dir := s.path("etc/pve/priv/lock", name)
	for i := 1; ; i++ {
		if i > 1 && waiting != nil {
			waiting(fmt.Sprintf("trying to acquire cfs lock '%s' ...", name))
		}
		quorate := s.quorate()
		var err error
		if quorate {
			if err = os.MkdirAll(filepath.Dir(dir), 0o700); err == nil {
				err = os.Mkdir(dir, 0o755)
			}
			if err == nil {
				break
			}
			// PVE asks that a lock whose holder died be taken away.
			_ = os.Chtimes(dir, time.Unix(0, 0), time.Unix(0, 0))
			if !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("cfs-lock '%s' error: %w", name, err)
			}
		}
		s.sleep(s.cfg.LockTimeout / attempts)
		if i < attempts && s.ctx.Err() == nil {
			continue
		}
		if !quorate {
			//lint:ignore ST1005 PVE's text
			return fmt.Errorf("cfs-lock '%s' error: no quorum!", name)
		}
		return fmt.Errorf("cfs-lock '%s' error: got lock request timeout", name)
	}
	err := do()
	return errors.Join(err, os.Remove(dir))
}
