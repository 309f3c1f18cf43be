package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"labd/internal/host"
)

// largeHost is a node of a cluster of 32 with 1,000 storages of all types, a fifth of the directories without their disk,
// and 2,000 guests.
func largeHost(tb testing.TB) *host.Host {
	tb.Helper()
	h := world(tb, lvmTools(vgWhole, pvWhole, lvWhole, pvWhole), zfsTools("tank\tONLINE\n", "", ""))
	write := func(name, text string) {
		tb.Helper()
		file := filepath.Join(filepath.Dir(h.Etc), name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	var config, mounts strings.Builder
	config.WriteString("dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n")
	mounts.WriteString("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
	for i := range 1000 {
		id := fmt.Sprintf("st%d", i)
		switch i % 5 {
		case 0, 1:
			fmt.Fprintf(&config, "dir: %s\n\tpath /mnt/pve/%s\n\tcontent backup,images\n\tis_mountpoint 1\n\n", id, id)
			write("etc/systemd/system/mnt-pve-"+id+".mount", "[Mount]\nWhat=/dev/disk/by-uuid/"+id+"\nWhere=/mnt/pve/"+id+"\n")
			if i%10 != 0 {
				write("dev/disk/by-uuid/"+id, "")
				fmt.Fprintf(&mounts, "%d 20 8:16 / /mnt/pve/%s rw - ext4 /dev/sdb rw\n", 100+i, id)
			}
		case 2:
			fmt.Fprintf(&config, "nfs: %s\n\tserver nas\n\texport /x\n\tcontent backup\n\n", id)
		case 3:
			fmt.Fprintf(&config, "lvmthin: %s\n\tvgname vgdata\n\tthinpool thin\n\tcontent images\n\n", id)
		case 4:
			fmt.Fprintf(&config, "zfspool: %s\n\tpool tank\n\tcontent images\n\n", id)
		}
	}
	write("etc/pve/storage.cfg", config.String())
	write("proc/1/mountinfo", mounts.String())
	var names []string
	for n := range 32 {
		names = append(names, fmt.Sprintf("pve%d", n+1))
	}
	write("etc/pve/.members", members(names...))
	for i := range 2000 {
		text := fmt.Sprintf("cores: 2\nmemory: 2048\nname: guest%d\nnet0: virtio=02:00:00:00:00:01,bridge=vmbr0\nscsi0: st%d:vm-%d-disk-0,size=32G\nide2: st%d:iso/debian.iso,media=cdrom\n\n[snap1]\nscsi0: st%d:vm-%d-disk-0,size=32G\n", i, i%1000, 100+i, (i+7)%1000, i%1000, 100+i)
		write(fmt.Sprintf("etc/pve/nodes/pve%d/qemu-server/%d.conf", i%32+1, 100+i), text)
	}
	return h
}

// deadline of an observation of the largest host with its verdicts and references: the figure itself is measured by the
// benchmark, this is what must hold on any machine.
const largeDeadline = 3 * time.Second

func TestLargeHost(t *testing.T) {
	h := largeHost(t)
	o := NewObserver(Inputs{Host: h, Node: "pve1", Memory: NewMemory(h.State, nil), Now: time.Now})
	began := time.Now()
	f, err := o.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := Diagnose(f, DefaultPolicy())
	if took := time.Since(began); took > largeDeadline {
		t.Errorf("it took %s", took)
	}
	verdicts := map[string]int{}
	references := 0
	for _, e := range r.Entries {
		if e.ID == "local" {
			continue // its path is the machine's own
		}
		verdicts[e.Verdict]++
		references += len(e.References)
	}
	if verdicts[VerdictGone] != 100 || verdicts[VerdictDown] != 200 || verdicts[VerdictOK] != 700 || references < 500 {
		t.Errorf("verdicts %v, %d references", verdicts, references)
	}
}

func BenchmarkObserveLargeHost(b *testing.B) {
	h := largeHost(b)
	o := NewObserver(Inputs{Host: h, Node: "pve1", Memory: NewMemory(h.State, nil), Now: time.Now})
	var most uint64
	b.ReportAllocs()
	for b.Loop() {
		f, err := o.Observe(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		r := Diagnose(f, DefaultPolicy())
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapInuse)
		runtime.KeepAlive(r)
	}
	b.ReportMetric(float64(most)/(1<<20), "MB-heap")
}
