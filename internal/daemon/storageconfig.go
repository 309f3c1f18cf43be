package daemon

import (
	"context"
	"fmt"
	"path/filepath"

	"labd/internal/pve"
)

// StorageConfigData is the host's storage.cfg.
func (d *daemon) StorageConfigData(ctx context.Context) ([]byte, error) {
	data, err := d.host.ReadFile(ctx, filepath.Join(d.cfg.Paths.PVE, "storage.cfg"))
	if err != nil {
		return nil, fmt.Errorf("read storage.cfg: %w", err)
	}
	return data, nil
}

// PVEMajor is the major version of the host's PVE, by its files; 0 where they do not tell.
func (d *daemon) PVEMajor(ctx context.Context) int {
	v, err := pve.InstalledVersion(ctx, d.host)
	if err != nil {
		d.log.Debug("PVE's version is not known", "err", err)
	}
	return v.Major()
}
