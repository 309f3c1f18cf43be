package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"labd/test/fixture"
	"labd/test/lab"
	"labd/test/pvesim"
)

// soak is one run.
type soak struct {
	lab     *lab.Lab
	disk    *lab.Disk
	ct      *lab.CT
	pve     *pvesim.Server
	random  *rand.Rand
	metrics string
	pulled  bool
	nets    []string // Docker networks that were made
	made    int
	count   map[string]int
}

// config keeps the network job on, so that churn has consequences, and its loops quick.
const config = `[paths]
sysfs = "/lab/nvme/sys"
kmsg = "/lab/nvme/dmesg"
[kernel]
release = "` + fixture.P7000ZRelease + `"
[nvme]
resync = "1s"
[storage]
resync = "1s"
[network]
mode = "reconcile"
resync = "1s"
[notify]
grace = "5s"
`

func run(ctx context.Context, bin, unit string, duration time.Duration, seed uint64) (err error) {
	s := &soak{random: rand.New(rand.NewPCG(seed, seed)), count: map[string]int{}}
	fmt.Printf("soak: %s, seed %d\n", duration, seed)
	if s.lab, err = lab.Start(ctx, lab.Config{Name: "soak"}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.lab.Close()) }()
	if err := s.start(ctx, bin, unit); err != nil {
		return err
	}
	defer s.pve.Close()
	end := time.Now().Add(duration)
	// Two thirds with everything, kills included; the last third with one labd, whose first and last samples are compared.
	if err := s.churn(ctx, end.Add(-duration/3), true); err != nil {
		return err
	}
	if err := s.rest(ctx); err != nil {
		return err
	}
	first, err := s.least(ctx)
	if err != nil {
		return err
	}
	if err := s.churn(ctx, end, false); err != nil {
		return err
	}
	if err := s.rest(ctx); err != nil {
		return err
	}
	last, err := s.least(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("events: %v\nfirst: %s\nlast:  %s\n", s.count, first, last)
	return last.flat(first)
}

func (s *soak) start(ctx context.Context, bin, unit string) (err error) {
	if s.disk, err = s.lab.AddDisk(ctx, "usb1"); err != nil {
		return err
	}
	if s.pve, err = s.lab.StartPVE(ctx, s.disk.StorageEntry()); err != nil {
		return err
	}
	if s.ct, err = s.lab.AddContainer(ctx, lab.Container{ID: 101}); err != nil {
		return err
	}
	if err := s.ct.WaitDocker(ctx); err != nil {
		return err
	}
	if err := fixture.Materialise(filepath.Join(s.lab.Dir(), "store/nvme"), fixture.P7000Z); err != nil {
		return err
	}
	if err := s.lab.InstallLabd(bin, unit, config); err != nil {
		return err
	}
	if _, err := s.lab.StartLabd(ctx); err != nil {
		return err
	}
	s.metrics, err = s.lab.Relay(ctx, "127.0.0.1:9717")
	return err
}

// churn makes one event after another until the time is over.
func (s *soak) churn(ctx context.Context, until time.Time, kill bool) error {
	type event struct {
		name string
		do   func(context.Context) error
	}
	events := []event{
		{"network", s.churnNetwork},
		{"disk", s.churnDisk},
		{"drive", s.churnDrive},
		{"ask", s.ask},
		{"container", s.restartContainer},
		{"reload", s.reload},
	}
	if kill {
		events = append(events, event{"kill", s.kill})
	}
	for time.Now().Before(until) {
		e := events[s.random.IntN(len(events))]
		if err := e.do(ctx); err != nil {
			return fmt.Errorf("%s, event %v: %w", e.name, s.count, err)
		}
		s.count[e.name]++
	}
	return nil
}

func (s *soak) churnNetwork(ctx context.Context) error {
	if len(s.nets) > 3 || len(s.nets) > 0 && s.random.IntN(2) == 0 {
		i := s.random.IntN(len(s.nets))
		gone := s.nets[i]
		s.nets = append(s.nets[:i], s.nets[i+1:]...)
		_, err := s.ct.Docker(ctx, "network", "rm", gone)
		return err
	}
	s.made++
	made := "soak" + strconv.Itoa(s.made)
	s.nets = append(s.nets, made)
	_, err := s.ct.Docker(ctx, "network", "create", made)
	return err
}

func (s *soak) churnDisk(ctx context.Context) error {
	s.pulled = !s.pulled
	if s.pulled {
		return s.disk.PullAndReboot(ctx)
	}
	if err := s.disk.Replug(ctx); err != nil {
		return err
	}
	// systemd refuses a unit that is started too often, as nobody but this program does.
	_, err := s.lab.Run(ctx, "sh", "-c", "systemctl reset-failed "+s.disk.Unit()+"; systemctl start "+s.disk.Unit())
	return err
}

// churnDrive lets a drive lose and regain its driver in the recorded tree.
func (s *soak) churnDrive(context.Context) error {
	functions, err := filepath.Glob(filepath.Join(s.lab.Dir(), "store/nvme/sys/bus/pci/devices/*/driver*"))
	if err != nil || len(functions) == 0 {
		return errors.Join(err, errors.New("the recorded tree has no drivers"))
	}
	link := functions[s.random.IntN(len(functions))]
	if away, ok := strings.CutSuffix(link, ".away"); ok {
		return os.Rename(link, away)
	}
	if filepath.Base(link) != "driver" {
		return nil
	}
	return os.Rename(link, link+".away")
}

// ask puts labctl's questions; whatever is wrong with the lab, labd answers.
func (s *soak) ask(ctx context.Context) error {
	for _, args := range [][]string{{"status"}, {"check-nvme"}, {"fix-storage", "--dry-run"}, {"net", "list"}, {"journal"}} {
		cmd := s.lab.Command(ctx, "labctl", args...)
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 0 && code != 3 && code != 4 {
			return fmt.Errorf("labctl %v: %w: %s", args, err, out)
		}
	}
	return nil
}

func (s *soak) restartContainer(ctx context.Context) error {
	if err := s.ct.Stop(ctx); err != nil {
		return err
	}
	if err := s.ct.Start(ctx); err != nil {
		return err
	}
	return s.ct.WaitDocker(ctx)
}

// reload puts another configuration in force, after a wrong one was refused.
func (s *soak) reload(ctx context.Context) error {
	put := func(text string) error {
		if err := s.lab.WriteFile("/etc/labd/labd.toml", []byte(text), 0o644); err != nil {
			return err
		}
		_, err := s.lab.Run(ctx, "systemctl", "reload", "labd")
		return err
	}
	if put(config+"nonsense = 1\n") == nil {
		return errors.New("a wrong configuration was not refused")
	}
	// Another grace of notifications exchanges their targets too.
	return put(strings.Replace(config, `grace = "5s"`, fmt.Sprintf("grace = \"%ds\"", 1+s.random.IntN(9)), 1))
}

func (s *soak) kill(ctx context.Context) error {
	if _, err := s.lab.Run(ctx, "systemctl", "kill", "--signal=KILL", "labd"); err != nil {
		return err
	}
	return s.ready(ctx)
}

// ready waits until labd has a report of each job.
func (s *soak) ready(ctx context.Context) error {
	return s.lab.Wait(ctx, 30*time.Second, func() bool {
		resp, err := http.Get("http://" + s.metrics + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// rest brings the lab to the state that samples are taken in: no networks, disk in, container up.
func (s *soak) rest(ctx context.Context) error {
	for _, n := range s.nets {
		if _, err := s.ct.Docker(ctx, "network", "rm", n); err != nil {
			return err
		}
	}
	s.nets = nil
	if s.pulled {
		if err := s.churnDisk(ctx); err != nil {
			return err
		}
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	before, err := s.sample(ctx)
	if err != nil {
		return err
	}
	// Passes after the last change, so that nothing of it is under way.
	return s.lab.Wait(ctx, 30*time.Second, func() bool {
		now, err := s.sample(ctx)
		return err == nil && now.passes >= before.passes+15
	})
}

// samples are how many least takes, sampleGap apart: more than a pass of the loops takes on a busy machine.
const (
	samples   = 30
	sampleGap = 200 * time.Millisecond
)

// least is what labd holds at the least while nothing happens: a pass that is under way has files, programs and goroutines
// of its own, and what has leaked is there between passes too.
func (s *soak) least(ctx context.Context) (sample, error) {
	least, err := s.sample(ctx)
	tick := time.NewTicker(sampleGap)
	defer tick.Stop()
	for range samples {
		<-tick.C
		now, again := s.sample(ctx)
		err = errors.Join(err, again)
		least.memory, least.files, least.goroutines = min(least.memory, now.memory), min(least.files, now.files), min(least.goroutines, now.goroutines)
	}
	return least, err
}

// sample is what labd holds.
type sample struct {
	memory, files, goroutines, passes float64
}

func (s sample) String() string {
	return fmt.Sprintf("%.1f MiB resident, %.0f files, %.0f goroutines", s.memory/(1<<20), s.files, s.goroutines)
}

// flat tells what grew since another sample by more than noise.
func (s sample) flat(first sample) error {
	var errs []error
	if s.memory > first.memory*1.25+4<<20 {
		errs = append(errs, fmt.Errorf("memory grew from %.1f to %.1f MiB", first.memory/(1<<20), s.memory/(1<<20)))
	}
	if s.files > first.files+4 {
		errs = append(errs, fmt.Errorf("open files grew from %.0f to %.0f", first.files, s.files))
	}
	if s.goroutines > first.goroutines+5 {
		errs = append(errs, fmt.Errorf("goroutines grew from %.0f to %.0f", first.goroutines, s.goroutines))
	}
	return errors.Join(errs...)
}

func (s *soak) sample(ctx context.Context) (sample, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.metrics+"/metrics", nil)
	if err != nil {
		return sample{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return sample{}, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return sample{}, fmt.Errorf("read labd's metrics: %w", err)
	}
	sum := func(name string) (total float64) {
		for _, m := range families[name].GetMetric() {
			total += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		return total
	}
	return sample{
		memory: sum("process_resident_memory_bytes"), files: sum("process_open_fds"), goroutines: sum("go_goroutines"),
		passes: sum("labd_loop_passes_total"),
	}, nil
}
