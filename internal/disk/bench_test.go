package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"labd/test/fixture"
)

// The large host of the benchmarks.
const (
	manyDrives     = 64
	manyNamespaces = 4
)

func largeHost(b *testing.B) (dir string, o *Observer) {
	b.Helper()
	dir = b.TempDir()
	if err := fixture.ManyDrives(dir, manyDrives, manyNamespaces); err != nil {
		b.Fatal(err)
	}
	return dir, observerOf(dir, "6.8.12-4-pve")
}

// everything are the files, links and directories of a tree that labd reads.
func everything(b *testing.B, dir string) (files, links, dirs []string) {
	b.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "sys/devices"), func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || e.Name() == "nuse":
			return err
		case e.IsDir() && (strings.HasPrefix(e.Name(), "nvme") || e.Name() == "holders" || e.Name() == "link"):
			dirs = append(dirs, path)
		case e.Type().IsRegular():
			files = append(files, path)
		case e.Type()&fs.ModeSymlink != 0:
			links = append(links, path)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	functions, err := filepath.Glob(filepath.Join(dir, "sys/bus/pci/devices/*"))
	if err != nil {
		b.Fatal(err)
	}
	return files, append(links, functions...), dirs
}

// BenchmarkObserve looks at a large host, and reads the same files in a bare loop, in turn.
func BenchmarkObserve(b *testing.B) {
	dir, o := largeHost(b)
	files, links, dirs := everything(b, dir)
	if r := look(b, o); len(r.Drives) != manyDrives || len(r.Findings) != 0 || len(r.Drives[0].Problems) != 0 {
		b.Fatalf("%d drives, findings %+v", len(r.Drives), r.Findings)
	}
	var observed, bare time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if _, err := o.Observe(b.Context()); err != nil {
			b.Fatal(err)
		}
		observed += time.Since(start)

		b.StopTimer() // the loop's own allocations are no figure of labd's
		start = time.Now()
		for _, path := range files {
			if _, err := os.ReadFile(path); err != nil {
				b.Fatal(err)
			}
		}
		for _, path := range links {
			if _, err := os.Readlink(path); err != nil {
				b.Fatal(err)
			}
		}
		for _, path := range dirs {
			if _, err := os.ReadDir(path); err != nil {
				b.Fatal(err)
			}
		}
		bare += time.Since(start)
		b.StartTimer()
	}
	n := float64(b.N)
	b.ReportMetric(float64(observed.Microseconds())/1000/n, "ms-observe")
	b.ReportMetric(float64(bare.Microseconds())/1000/n, "ms-bare-loop")
	b.ReportMetric(float64(observed)/float64(bare), "x-bare-loop")
	b.ReportMetric(float64(len(files)+len(links)+len(dirs)), "reads")
}

// BenchmarkDiagnose judges a large host.
func BenchmarkDiagnose(b *testing.B) {
	_, o := largeHost(b)
	facts, err := o.Observe(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		Diagnose(facts, DefaultPolicy())
	}
}

// BenchmarkHungDrive looks at a large host of which one drive hangs, for the first time: later its files are not tried again.
func BenchmarkHungDrive(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		dir, o := largeHost(b)
		state := filepath.Join(dir, "sys/class/nvme/nvme7/state")
		real, err := filepath.EvalSymlinks(filepath.Dir(state))
		if err != nil {
			b.Fatal(err)
		}
		var pipes []string
		for _, name := range []string{"state", "model", "serial", "firmware_rev", "subsysnqn", "cntlid"} {
			pipe := filepath.Join(real, name)
			pipes = append(pipes, pipe)
			if err := os.Remove(pipe); err != nil {
				b.Fatal(err)
			}
			if err := unix.Mkfifo(pipe, 0o600); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		r := look(b, o)
		b.StopTimer()
		for _, pipe := range pipes {
			if w, err := os.OpenFile(pipe, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
				w.Close() // lets the blocked read go
			}
		}
		if len(r.Drives) != manyDrives || len(r.Drives[7].Problems) == 0 || len(r.Drives[8].Problems) != 0 {
			b.Fatalf("drive 7: %q", r.Drives[7].Problems)
		}
		b.StartTimer()
	}
}
