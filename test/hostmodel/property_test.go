package hostmodel_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"labd/internal/host"
	"labd/internal/plan"
	"labd/internal/storage"
	"labd/test/hostmodel"
)

var (
	hosts = flag.Uint64("hosts", 20_000, "how many hosts are made up")
	seed  = flag.Uint64("seed", 1, "the seed of the first")
	show  = flag.Bool("show", false, "print the hosts and what labd says of them")
)

// noon is when labd looks for the first time, later when it looks again.
var (
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	later = noon.Add(100 * time.Hour)
)

// asked is what labd says of a host.
type asked struct {
	report *storage.Report
	facts  *storage.Facts
}

// ask has labd look at a host as it does in production, but for programs, whose answers the model gives.
func ask(h *hostmodel.Host, root, state string, now time.Time) (*asked, error) {
	if err := h.Write(root); err != nil {
		return nil, err
	}
	paths := host.DefaultPaths()
	paths.Sysfs, paths.Procfs, paths.Dev, paths.Etc = filepath.Join(root, "sys"), filepath.Join(root, "proc"), filepath.Join(root, "dev"), filepath.Join(root, "etc")
	paths.PVE, paths.LXC, paths.Usr, paths.Run, paths.State = filepath.Join(root, "pve"), filepath.Join(root, "lxc"), filepath.Join(root, "usr"), filepath.Join(root, "run/labd"), state
	paths.Exec = filepath.Join(root, "bin")
	machine := host.New(paths, "6.14.8-2-pve")
	machine.Programs = func(_ context.Context, c host.Cmd) ([]byte, error) {
		a := h.Run(c.Name, c.Args)
		switch {
		case a.Absent:
			return nil, fmt.Errorf("run %s: %w", c.Name, host.ErrNotInstalled)
		case a.Code != 0:
			return []byte(a.Stdout), &host.ExitError{Command: c.Name + " " + strings.Join(c.Args, " "), Code: a.Code, Stderr: a.Stderr}
		}
		return []byte(a.Stdout), nil
	}
	memory := storage.NewMemory(state, nil)
	facts, err := storage.NewObserver(storage.Inputs{
		Host: machine, Node: h.Node, Memory: memory, Now: func() time.Time { return now },
	}).Observe(context.Background())
	if err != nil {
		return nil, err
	}
	policy := storage.DefaultPolicy()
	policy.Grace, policy.Probe = 0, false
	report := storage.Diagnose(facts, policy)
	return &asked{report, facts}, memory.Note(report)
}

// verdict is the host as labd sees it after its failures, looked at once before them where the seed says so.
func verdict(n uint64, dir string) (h *hostmodel.Host, a *asked, seen bool, err error) {
	state := filepath.Join(dir, "state")
	if seen = n%8 == 0; seen {
		if _, err := ask(hostmodel.Healthy(n), filepath.Join(dir, "healthy"), state, noon); err != nil {
			return nil, nil, seen, err
		}
	}
	h = hostmodel.Generate(n)
	a, err = ask(h, filepath.Join(dir, "host"), state, later)
	return h, a, seen, err
}

// faults are what labd gets wrong of a host.
func faults(h *hostmodel.Host, a *asked, seen bool) (out []string) {
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, s := range h.Storages {
		e, listed := a.report.Entry(s.ID)
		if s.Truth == hostmodel.Alive && listed && e.Verdict == storage.VerdictGone {
			add("%s lives (%s) and is called gone: %s", s.ID, s.Why, e.Reason)
		}
		for _, fix := range []bool{false, true} {
			p, err := storage.PlanRemoval(a.facts, a.report, []string{s.ID}, storage.Options{FixRefs: fix})
			if err != nil {
				continue
			}
			switch {
			case s.Truth == hostmodel.Alive:
				add("%s lives (%s), and there is a plan: %s", s.ID, s.Why, p.Title)
			case !h.Quorate:
				add("%s: a plan without quorum", s.ID)
			case s.Blocked:
				add("%s: a guest has a disk on it, and there is a plan", s.ID)
			case s.Soft && !fix:
				add("%s: a guest names it, and there is a plan that leaves it", s.ID)
			}
			for _, step := range p.Steps {
				for _, other := range h.Storages {
					if fault := touches(step, other); fault != "" && other != s && other.Truth == hostmodel.Alive {
						add("the plan for %s touches %s, which lives: %s", s.ID, other.ID, fault)
					}
				}
				if s.Others && !s.Orphan && (strings.HasPrefix(step.How, "DELETE /storage/"+s.ID) || strings.Contains(step.How, "disable=1")) {
					add("%s is other nodes' as well, and the plan says %s", s.ID, step.How)
				}
			}
		}
	}
	out = append(out, leftoverFaults(h, a)...)
	for _, id := range a.report.Candidates() {
		s := h.Storage(id)
		if s == nil {
			add("a bare fix-storage takes %s, which is no entry", id)
			continue
		}
		kernelName := strings.HasPrefix(s.What, "/dev/") && strings.Count(s.What, "/") == 2
		switch {
		case s.Truth != hostmodel.Dead:
			add("a bare fix-storage takes %s, which is %s (%s)", id, s.Truth, s.Why)
		case kernelName && !s.Orphan:
			add("a bare fix-storage takes %s, which is known by the kernel's name %s", id, s.What)
		case s.Type == "zfspool":
			add("a bare fix-storage takes the pool of %s", id)
		case !seen && !s.Orphan && (s.Type == "dir" || s.Type == "btrfs"):
			add("a bare fix-storage takes %s, which labd never saw", id)
		}
	}
	return out
}

// leftoverFaults are plans for mounts that no entry is said to use, which touch a storage that lives.
func leftoverFaults(h *hostmodel.Host, a *asked) (out []string) {
	for _, e := range a.report.Entries {
		if h.Storage(e.ID) != nil || e.ID == "local" {
			continue
		}
		p, err := storage.PlanRemoval(a.facts, a.report, []string{e.ID}, storage.Options{})
		if err != nil {
			continue
		}
		for _, step := range p.Steps {
			for _, s := range h.Storages {
				if fault := touches(step, s); fault != "" && s.Truth == hostmodel.Alive {
					out = append(out, fmt.Sprintf("the plan for the left-over %s touches %s, which lives: %s", e.ID, s.ID, fault))
				}
			}
		}
	}
	return out
}

// touches says how a step touches a storage's entry, unit or mount point.
func touches(step plan.Step, s *hostmodel.Storage) string {
	text := step.How + " " + string(step.Params)
	for _, mark := range []string{"/storage/" + s.ID + " ", `"` + s.Point + `"`, "rmdir " + s.Point} {
		if s.Point == "" && mark != "/storage/"+s.ID+" " {
			continue
		}
		if strings.Contains(text+" ", mark) {
			return step.How
		}
	}
	if s.Unit != "" && strings.HasSuffix(step.How, " "+s.Unit) {
		return step.How
	}
	return ""
}

// fastDir is a directory in memory, where there is one: thousands of trees are written.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "labd-hosts")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// No plan touches what lives, whatever host it is: 20,000 are made up, and labd is asked about each.
func TestNoPlanTouchesWhatLives(t *testing.T) {
	count := *hosts
	switch {
	case testing.Short():
		count = min(count, 500)
	case raceDetector:
		count = min(count, 2_000)
	}
	dir := fastDir(t)
	var mu sync.Mutex
	var failed []string
	figures := map[string]int{}
	var next atomic.Uint64
	var wg sync.WaitGroup
	begin := time.Now()
	for worker := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				n := next.Add(1) - 1
				if n >= count {
					return
				}
				n += *seed
				at := filepath.Join(dir, fmt.Sprint(worker))
				h, a, seen, err := verdict(n, at)
				if err == nil {
					err = os.RemoveAll(at)
				}
				mu.Lock()
				if err != nil {
					failed = append(failed, fmt.Sprintf("seed %d: %v", n, err))
				} else {
					for _, fault := range faults(h, a, seen) {
						failed = append(failed, fmt.Sprintf("seed %d: %s", n, fault))
					}
					for _, s := range h.Storages {
						called := "not listed"
						if e, ok := a.report.Entry(s.ID); ok {
							called = e.Verdict
						}
						figures[string(s.Truth)+" called "+called]++
						if _, err := storage.PlanRemoval(a.facts, a.report, []string{s.ID}, storage.Options{FixRefs: true}); err == nil {
							figures[string(s.Truth)+", with a plan"]++
						} else if s.Truth == hostmodel.Dead {
							figures["dead, left alone"]++
						}
					}
					if *show {
						fmt.Println(h)
						for _, e := range a.report.Entries {
							fmt.Printf("  labd: %s is %s: %s\n", e.ID, e.Verdict, e.Reason)
						}
						fmt.Printf("  bare: %v\n", a.report.Candidates())
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d hosts in %s", count, time.Since(begin).Round(time.Millisecond))
	for _, key := range slices.Sorted(maps.Keys(figures)) {
		t.Logf("%7d %s", figures[key], key)
	}
	slices.Sort(failed)
	for i, f := range failed {
		if i == 40 {
			t.Errorf("and %d more", len(failed)-i)
			break
		}
		t.Error(f)
	}
	if len(failed) > 0 {
		t.Log("go test ./test/hostmodel -run TestNoPlanTouchesWhatLives -hosts 1 -show -seed N prints one of them")
	}
	if figures["dead, with a plan"] == 0 || figures["alive called ok"] == 0 {
		t.Errorf("the model asks nothing: %v", figures)
	}
}

// The model itself: healthy hosts are all alive, and labd says so.
func TestHealthyHostsAreWell(t *testing.T) {
	dir := fastDir(t)
	for n := range uint64(100) {
		h := hostmodel.Healthy(n)
		for _, s := range h.Storages {
			if s.Truth != hostmodel.Alive && !s.Orphan {
				t.Fatalf("seed %d: %s is %s: %s\n%s", n, s.ID, s.Truth, s.Why, h)
			}
		}
		at := filepath.Join(dir, fmt.Sprint(n))
		a, err := ask(h, filepath.Join(at, "host"), filepath.Join(at, "state"), noon)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range a.report.Entries {
			// Directories outside mounts are this machine's own; servers are not asked.
			s := h.Storage(e.ID)
			if s != nil && s.Point != "" && s.Path == s.Point && !s.Orphan && !s.Disabled && e.Verdict != storage.VerdictOK {
				t.Errorf("seed %d: %s is %s: %s\n%s", n, e.ID, e.Verdict, e.Reason, h)
			}
		}
	}
}

// The same seed makes the same host.
func TestSeedsRepeat(t *testing.T) {
	for n := range uint64(50) {
		if a, b := hostmodel.Generate(n).String(), hostmodel.Generate(n).String(); a != b {
			t.Errorf("seed %d:\n%s\n%s", n, a, b)
		}
	}
	if err := errors.Join(hostmodel.Generate(1).Write(filepath.Join(t.TempDir(), "x"))); err != nil {
		t.Error(err)
	}
}
