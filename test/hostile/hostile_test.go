package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
	"labd/test/lab"
)

const (
	// attackTime is how long all attacks go on together.
	attackTime = 40 * time.Second
	// maxMemory and maxCPU are what labd may take meanwhile: bytes, and a share of one core. On a quiet machine it takes 45 to
	// 75 MiB and about a fifth; beside other tests, on two cores, the same work counts for more.
	maxMemory = 160 << 20
	maxCPU    = 0.50
	// maxAnswer is how long a question to labd may take.
	maxAnswer = 5 * time.Second
)

// stage is a lab with labd, an honest container and two hostile ones.
type stage struct {
	*testing.T
	lab    *lab.Lab
	honest *lab.CT
	web    string // the honest Docker container's address
}

func setUp(t *testing.T) *stage {
	t.Helper()
	lab.Require(t, "dockerd", "lxc-start", "busybox", "setpriv")
	bin := t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "labd/cmd/labd", "labd/cmd/labctl", "labd/test/hostile/attacker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	l := lab.New(t, "hostile")
	s := &stage{T: t, lab: l}
	attacker, err := os.ReadFile(filepath.Join(bin, "attacker"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.WriteFile("/opt/attacker", attacker, 0o755); err != nil {
		t.Fatal(err)
	}
	if s.honest, err = l.AddContainer(t.Context(), lab.Container{ID: 101}); err != nil {
		t.Fatal(err)
	}
	if err := s.honest.WaitDocker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.honest.ImportImage(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.web, err = s.honest.RunContainer(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if err := l.InstallLabd(bin, "../../systemd/labd.service", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := l.StartLabd(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// hostile adds a container that has the attacker and a bridge to claim networks on.
func (s *stage) hostile(id int, privileged bool) *lab.CT {
	s.Helper()
	config := []string{"lxc.mount.entry = /opt/attacker opt/attacker none bind,create=file 0 0"}
	if privileged {
		config = append(config, "lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file 0 0")
	}
	ct, err := s.lab.AddContainer(s.Context(), lab.Container{ID: id, NoDocker: true, Privileged: privileged, Config: config})
	if err != nil {
		s.Fatal(err)
	}
	if err := s.lab.Wait(s.Context(), 60*time.Second, func() bool {
		_, err := ct.Run(s.Context(), "systemctl", "is-active", "multi-user.target")
		return err == nil
	}); err != nil {
		s.Fatal(err)
	}
	for _, args := range []string{"link add br-evil type bridge", "addr add 172.18.0.1/16 dev br-evil", "link set br-evil up"} {
		if out, err := ct.Run(s.Context(), "ip", strings.Fields(args)...); err != nil {
			s.Fatalf("%v: %s", err, out)
		}
	}
	return ct
}

// until runs an attack in a container until ctx ends. One that ends by itself did not take place.
func (s *stage) until(ctx context.Context, name string, attack func(ctx context.Context) (string, error)) {
	done := make(chan struct{})
	s.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		out, err := attack(ctx)
		if ctx.Err() == nil {
			s.Errorf("the attack %q ended: %v: %.500s", name, err, out)
		}
	}()
}

// labctl asks labd, and fails the test unless an answer comes in time.
func (s *stage) labctl(args ...string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 2*maxAnswer)
	defer cancel()
	start := time.Now()
	out, err := s.lab.Command(ctx, "labctl", args...).Output()
	if took := time.Since(start); took > maxAnswer {
		s.Errorf("labctl %s took %v", strings.Join(args, " "), took)
	}
	if len(out) == 0 {
		s.Errorf("labctl %s: no answer: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

func (s *stage) labdPID() int {
	s.Helper()
	out, err := s.lab.Run(s.Context(), "systemctl", "show", "labd", "--property=MainPID", "--value")
	if err != nil {
		s.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || pid == 0 {
		s.Fatalf("labd does not run: %q", out)
	}
	return pid
}

// usage is labd's CPU time and the most memory that it had.
func (s *stage) usage(pid int) (cpu time.Duration, peak int64) {
	s.Helper()
	stat, err := os.ReadFile(s.lab.Path(fmt.Sprintf("/proc/%d/stat", pid)))
	if err != nil {
		s.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, i := range []int{11, 12} { // utime and stime, in hundredths of a second (proc(5))
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			s.Fatal(err)
		}
		cpu += time.Duration(n) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(s.lab.Path(fmt.Sprintf("/proc/%d/status", pid)))
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if peak, err = strconv.ParseInt(strings.Fields(text)[0], 10, 64); err != nil {
				s.Fatal(err)
			}
			peak *= 1024
		}
	}
	return cpu, peak
}

// hostRoutes are the host's routes but those that lead to the honest container.
func (s *stage) hostRoutes() []string {
	s.Helper()
	out, err := s.lab.Run(s.Context(), "ip", "route", "show", "table", "all")
	if err != nil {
		s.Fatal(err)
	}
	var routes []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "via "+s.honest.Address()) {
			routes = append(routes, strings.Join(strings.Fields(line), " "))
		}
	}
	slices.Sort(routes)
	return routes
}

func (s *stage) reachable() bool {
	body, err := s.lab.Get(s.Context(), "http://"+s.web+"/")
	return err == nil && strings.Contains(body, "hello")
}

// Everything at once, for a while: lying Dockers, floods of events, addresses, routes and rules, a file system that never
// answers, containers that restart, a fake monitor and a table of 18,001 sockets.
func TestEverythingAtOnce(t *testing.T) {
	s := setUp(t)
	s.labctl("net", "on", "--yes")
	if err := s.lab.Wait(t.Context(), 30*time.Second, s.reachable); err != nil {
		t.Fatalf("the honest container is not reachable before: %v", err)
	}
	liar, breaker := s.hostile(102, false), s.hostile(103, true)
	routes := s.hostRoutes()
	pid := s.labdPID()
	cpuBefore, _ := s.usage(pid)
	start := time.Now()

	attack, stop := context.WithTimeout(t.Context(), attackTime)
	defer stop()
	in := func(ct *lab.CT, name string, args ...string) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) { return ct.Run(ctx, name, args...) }
	}
	s.until(attack, "a Docker that lies", in(liar, "/opt/attacker", "docker"))
	s.until(attack, "10,000 addresses", in(liar, "sh", "-c", "i=0; while [ $i -lt 10000 ]; do echo addr add 10.$((100+i/65536)).$((i/256%256)).$((i%256))/32 dev br-evil; i=$((i+1)); done | ip -force -batch - >/dev/null 2>&1; sleep 1000"))
	s.until(attack, "routes that come and go", in(liar, "sh", "-c", "while :; do ip route add 198.51.100.0/24 dev br-evil; ip route del 198.51.100.0/24 dev br-evil; done"))
	s.until(attack, "a file system that never answers", in(breaker, "/opt/attacker", "fuse", "/run/podman"))
	s.until(attack, "30,000 rules", in(breaker, "sh", "-c", "(echo '*filter'; i=0; while [ $i -lt 30000 ]; do echo -A FORWARD -s 198.51.100.7/32 -p tcp --dport $((i+1)) -j DROP; i=$((i+1)); done; echo COMMIT) | iptables-nft-restore; sleep 1000"))
	nobody := func(args ...string) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			return s.lab.Run(ctx, "setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "/opt/attacker"}, args...)...)
		}
	}
	s.until(attack, "a fake monitor", nobody("monitor", "@/var/lib/lxc/999/command"))
	s.until(attack, "18,001 sockets", nobody("sockets", "18001"))

	asked, lost, slowest := 0, 0, time.Duration(0)
	var shown time.Time
	for attack.Err() == nil {
		at := time.Now()
		asked++
		if !s.reachable() {
			lost++
		} else {
			slowest = max(slowest, time.Since(at))
		}
		if time.Since(shown) > 5*time.Second { // as often as a person who is worried
			shown = time.Now()
			s.labctl("status")
			if size := len(s.labctl("net", "list", "-o", "json")); size > 8<<20 {
				t.Errorf("the list of networks has %d bytes", size)
			}
		}
	}
	if lost*50 > asked {
		t.Errorf("%d of %d requests to the honest container were lost", lost, asked)
	}
	if slowest > 2*time.Second {
		t.Errorf("the slowest answer of the honest container took %v", slowest)
	}
	if got := s.labdPID(); got != pid {
		t.Fatalf("labd was restarted: %d, was %d", got, pid)
	}
	cpu, peak := s.usage(pid)
	share := float64(cpu-cpuBefore) / float64(time.Since(start))
	t.Logf("%d requests, %d lost, the slowest took %v; labd took %.0f %% of a core and %d MiB at most", asked, lost, slowest, 100*share, peak>>20)
	if peak > maxMemory {
		t.Errorf("labd had %d MiB", peak>>20)
	}
	if share > maxCPU {
		t.Errorf("labd took %.0f %% of a core", 100*share)
	}

	// What the claims came to: the host's routes are those from before, and what is routed to a hostile container is its own.
	var list apiv1.Envelope[apiv1.NetworkItem]
	if err := json.Unmarshal([]byte(s.labctl("net", "list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, line := range s.hostRoutes() {
		if strings.Contains(line, "via "+liar.Address()) || strings.Contains(line, "via "+breaker.Address()) {
			if !strings.HasPrefix(line, "172.18.0.0/16 ") {
				t.Errorf("a claim is routed: %s", line)
			}
			continue
		}
		own = append(own, line)
	}
	if diff := cmp.Diff(routes, own); diff != "" {
		t.Errorf("the host's routes, -before +after:\n%s", diff)
	}
	for _, f := range list.Findings {
		if strings.Contains(f.Subject, "lxc/999") {
			t.Errorf("the fake container is believed: %+v", f)
		}
	}
	if out, err := s.lab.Run(t.Context(), "systemctl", "is-active", "labd"); err != nil {
		t.Errorf("labd: %s", out)
	}
}
