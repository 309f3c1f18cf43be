package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"labd/internal/config"
	"labd/internal/host"
	"labd/internal/pve"
)

// StorageConfigData is the host's storage.cfg. One that is missing on a PVE host is empty for PVE.
func (d *daemon) StorageConfigData(ctx context.Context) ([]byte, error) {
	data, err := d.host.ReadFile(ctx, filepath.Join(d.cfg.Paths.PVE, "storage.cfg"))
	if errors.Is(err, fs.ErrNotExist) {
		if cluster, clusterErr := pve.ReadCluster(pve.DirFS(d.cfg.Paths.PVE)); clusterErr == nil && cluster.Mounted {
			return nil, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read storage.cfg: %w", err)
	}
	return data, nil
}

// PVEMajor is the major version of the host's PVE; 0 where it cannot be told.
func (d *daemon) PVEMajor(ctx context.Context) int { return d.pveVersion.major(ctx) }

const (
	// versionAnswer is how long PVE's API may take to tell its version, versionRetry how long it is then not asked again.
	versionAnswer = 2 * time.Second
	versionRetry  = 5 * time.Minute
)

// pveVersion knows the version of the host's PVE: by the files of its packages, and where they do not tell, by its API.
type pveVersion struct {
	host *host.Host
	// ask asks the API; nil where there is no token for it.
	ask func(ctx context.Context) (pve.Version, error)
	now func() time.Time

	mu    sync.Mutex
	known pve.Version
	asked time.Time
}

func newPVEVersion(cfg config.Config, h *host.Host) *pveVersion {
	return &pveVersion{host: h, now: time.Now, ask: func(ctx context.Context) (pve.Version, error) {
		client, err := tokenClient(cfg, nil)
		if err != nil {
			return pve.Version{}, err
		}
		defer client.Close()
		return client.Version(ctx)
	}}
}

func (p *pveVersion) major(ctx context.Context) int {
	// The files are read each time: an upgrade of PVE does not restart labd.
	if v, err := pve.InstalledVersion(ctx, p.host); err == nil {
		return v.Major()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked.IsZero() && p.now().Sub(p.asked) < versionRetry {
		return p.known.Major()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), versionAnswer)
	defer cancel()
	p.asked = p.now()
	if v, err := p.ask(ctx); err == nil {
		p.known = v
	}
	return p.known.Major()
}
