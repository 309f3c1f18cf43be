package pve

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

// A cluster of 32 nodes with 2,000 guests and 1,000 storages.
func BenchmarkReferencesOfALargeCluster(b *testing.B) {
	fsys := fstest.MapFS{}
	var cfg strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&cfg, "dir: st%d\n\tpath /mnt/pve/st%d\n\tcontent images\n\n", i, i)
	}
	for i := range 2000 {
		fsys[fmt.Sprintf("nodes/pve%d/qemu-server/%d.conf", i%32, 100+i)] = file(fmt.Sprintf(
			"boot: order=scsi0\ncores: 4\nmemory: 4096\nname: vm%d\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n"+
				"scsi0: st%d:vm-%d-disk-0,size=32G\nide2: st%d:iso/a.iso,media=cdrom\nunused0: st1:vm-%d-disk-9\n\n"+
				"[snap]\nscsi0: st%d:vm-%d-disk-0,size=32G\nsnaptime: 1\n", i, i%1000, i, i%7, i, i%1000, i))
	}
	fsys["storage.cfg"] = file(cfg.String())
	b.ReportAllocs()
	for b.Loop() {
		c := ParseStorageConfig([]byte(cfg.String()), StorageConfigOptions{})
		x, err := ReadReferences(fsys)
		if err != nil {
			b.Fatal(err)
		}
		for _, s := range c.Sections {
			x.Of(s.ID, s.Path())
		}
	}
}
