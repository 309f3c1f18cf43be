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

// storageConfig reads what a reading of storage.cfg needs of the host.
type storageConfig struct {
	cfg      config.Config
	host     *host.Host
	versions *pveVersion
}

// StorageConfigData is the host's storage.cfg. One that is missing on a PVE host is empty for PVE.
func (s storageConfig) StorageConfigData(ctx context.Context) ([]byte, error) {
	data, err := s.host.ReadFile(ctx, filepath.Join(s.cfg.Paths.PVE, "storage.cfg"))
	if errors.Is(err, fs.ErrNotExist) {
		if cluster, clusterErr := pve.ReadCluster(pve.DirFS(s.cfg.Paths.PVE)); clusterErr == nil && cluster.Mounted {
			return nil, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read storage.cfg: %w", err)
	}
	return data, nil
}

// PVEMajor is the major version of the host's PVE; 0 where it cannot be told.
func (s storageConfig) PVEMajor(ctx context.Context) int { return s.versions.major(ctx) }

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

	// mu is not held while the API is asked.
	mu    sync.Mutex
	known pve.Version
	asked time.Time
	// asking is there while the API is asked, and closed at the end.
	asking chan struct{}
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

// installed returns the major version, within the time that a file may take to read; 0 where it cannot be told.
func (p *pveVersion) installed() int {
	ctx, cancel := context.WithTimeout(context.Background(), host.DefaultReadTimeout)
	defer cancel()
	return p.major(ctx)
}

func (p *pveVersion) major(ctx context.Context) int {
	// The files are read each time: an upgrade of PVE does not restart labd.
	if v, err := pve.InstalledVersion(ctx, p.host); err == nil {
		return v.Major()
	}
	answer, mine := p.question()
	if mine {
		p.answer(ctx)
	} else if answer != nil {
		select {
		case <-answer:
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known.Major()
}

// question returns what to wait for: nil where what is known is new enough. mine says that the caller is to ask.
func (p *pveVersion) question() (answer <-chan struct{}, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking != nil {
		return p.asking, false
	}
	if !p.asked.IsZero() && p.now().Sub(p.asked) < versionRetry {
		return nil, false
	}
	p.asked, p.asking = p.now(), make(chan struct{})
	return p.asking, true
}

// answer asks the API. A caller who gives up does not end the question, which others may wait for.
func (p *pveVersion) answer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), versionAnswer)
	defer cancel()
	v, err := p.ask(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.known = v
	}
	close(p.asking)
	p.asking = nil
}
