package placement

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"labd/internal/disk"
	"labd/internal/finding"
	"labd/internal/host"
	"labd/internal/layer"
	"labd/internal/storage"
	"labd/test/fixture"
)

// A drive's disk and the storages that lie on it are joined by mount point, volume group and pool.
func TestStoragesOfANamespace(t *testing.T) {
	dir := t.TempDir()
	if err := fixture.Materialise(dir, []byte(`
-- proc/1/mountinfo --
20 1 253:0 / / rw - ext4 /dev/mapper/pve-root rw
30 20 259:8 / /mnt/pve/fast rw - ext4 /dev/nvme0n1p1 rw
-- dev/nvme0n1 --
-- etc/pve/local -> nodes/pve1 --
-- etc/pve/nodes/pve1/lrm_status --
-- etc/pve/storage.cfg --
dir: local
	path /var/lib/vz
	content iso

dir: fast
	path /mnt/pve/fast
	content images

lvmthin: local-lvm
	thinpool data
	vgname pve
	content images

zfspool: tank
	pool tank/data
	content images
`)); err != nil {
		t.Fatal(err)
	}
	paths := host.DefaultPaths()
	paths.Procfs, paths.Dev, paths.Etc, paths.PVE, paths.State = filepath.Join(dir, "proc"), filepath.Join(dir, "dev"), filepath.Join(dir, "etc"), filepath.Join(dir, "etc/pve"), filepath.Join(dir, "state")
	facts, err := storage.NewObserver(storage.Inputs{Host: host.New(paths, ""), Node: "pve1", Memory: storage.NewMemory(paths.State, nil), Now: time.Now}).Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	storages := storage.Diagnose(facts, storage.DefaultPolicy())
	for _, tt := range []struct {
		name            string
		users, contents []layer.Layer
		want            []finding.Subject
	}{
		{"a mount", []layer.Layer{{Kind: layer.Mount, Name: "/mnt/pve/fast"}}, []layer.Layer{{Kind: layer.Ext, Name: "1"}}, []finding.Subject{"storage/pve1/fast"}},
		{"the system's drive", []layer.Layer{{Kind: layer.VolumeGroup, Name: "pve"}, {Kind: layer.Mount, Name: "/"}}, []layer.Layer{{Kind: layer.VolumeGroup, Name: "pve"}}, []finding.Subject{"storage/pve1/local", "storage/pve1/local-lvm"}},
		{"a pool that is not imported", nil, []layer.Layer{{Kind: layer.Pool, Name: "tank"}}, []finding.Subject{"storage/pve1/tank"}},
		{"nothing", nil, nil, nil},
	} {
		if diff := cmp.Diff(tt.want, Join(nil, storages).OnNamespace(disk.Namespace{Users: tt.users, Contents: tt.contents})); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
	}
}
