package lab

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"labd/test/pvesim/pmxcfs"
)

// Addresses of every lab. Labs do not meet, so they are the same everywhere.
const (
	HostAddress = "10.77.0.1"     // the host on vmbr0
	HostLAN     = "192.168.77.1"  // the host on its uplink eno1
	LANAddress  = "192.168.77.50" // the client

	HostAddress6 = "fd00:77::1" // the same in IPv6
	HostLAN6     = "fd00:192::1"
	LANAddress6  = "fd00:192::50"
)

// DefaultBase is the directory that labs live below; it must be on ext4 or xfs, not on an overlay.
const DefaultBase = "/var/lib/labd-lab"

// Config says what lab to start.
type Config struct {
	// Name tells labs apart: 1 to 12 of a-z, 0-9 and -.
	Name string
	// Base is the directory that the lab's own is made below; DefaultBase when empty.
	Base string
	// Node is the host's name; pve1 when empty.
	Node string
	// Root is the tree that the host's root is a layer over; the machine's own when empty.
	Root string
	// Logf, when set, is told what happens.
	Logf func(format string, args ...any)
}

// Lab is a running lab.
type Lab struct {
	Name, Node string

	dir    string
	root   string
	cgroup *os.File
	pid    int
	lock   *os.File
	logf   func(format string, args ...any)
	ended  chan struct{}
	// clusterFS is what /etc/pve is mounted from; nil while it is a plain directory.
	clusterFS *pmxcfs.FS
}

//go:embed host.sh
var hostScript string

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,11}$`)

// Start starts a lab and returns when its systemd is running. A lab of the same name whose owner is dead is cleaned
// up first; one whose owner lives is an error.
func Start(ctx context.Context, cfg Config) (_ *Lab, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("start a lab: it needs root")
	}
	if !validName.MatchString(cfg.Name) {
		return nil, fmt.Errorf("start a lab: %q is no name: 1 to 12 of a-z, 0-9 and -", cfg.Name)
	}
	l := &Lab{Name: cfg.Name, Node: cmp.Or(cfg.Node, "pve1"), root: cmp.Or(cfg.Root, "/"), logf: cfg.Logf, ended: make(chan struct{})}
	if l.logf == nil {
		l.logf = func(string, ...any) {}
	}
	if short := roomLeft().short(); short != "" {
		l.logf("this machine is short: %s", short)
	}
	base := cfg.Base
	if base == "" {
		base = DefaultBase
	}
	if l.lock, err = takeName(base, cfg.Name); err != nil {
		return nil, err
	}
	l.dir = filepath.Join(base, cfg.Name)
	if err := cleanup(l.dir, cfg.Name); err != nil {
		return nil, errors.Join(fmt.Errorf("clean up after an earlier lab %s: %w", cfg.Name, err), giveName(l.lock))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if err := l.makeNetworks(ctx); err != nil {
		return nil, err
	}
	if err := l.startHost(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// Close ends the lab and takes everything of it away.
func (l *Lab) Close() error {
	if l.cgroup != nil {
		_ = l.cgroup.Close()
	}
	return errors.Join(cleanup(l.dir, l.Name), giveName(l.lock))
}

// Dir is the lab's directory on the machine.
func (l *Lab) Dir() string { return l.dir }

// PID is the process id of the host's first process, as the machine sees it.
func (l *Lab) PID() int { return l.pid }

// Root is the host's root directory as the machine sees it.
func (l *Lab) Root() string { return fmt.Sprintf("/proc/%d/root", l.pid) }

// Path is a path of the host as the machine sees it.
func (l *Lab) Path(path string) string { return filepath.Join(l.Root(), path) }

// NetNS is the network namespace of the host, to be opened from the machine.
func (l *Lab) NetNS() string { return netnsPath(l.hostNet()) }

// LANNetNS is the network namespace of the client.
func (l *Lab) LANNetNS() string { return netnsPath(l.lanNet()) }

// WriteFile writes a file of the host; directories on the way are made.
func (l *Lab) WriteFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(l.Path(filepath.Dir(path)), 0o755); err != nil {
		return fmt.Errorf("write %s of the lab host: %w", path, err)
	}
	if err := os.WriteFile(l.Path(path), data, mode); err != nil {
		return fmt.Errorf("write %s of the lab host: %w", path, err)
	}
	return nil
}

// Command is a program on the host, in all of its namespaces and in the lab's cgroup.
func (l *Lab) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return l.inside(ctx, append([]string{
		"--target", strconv.Itoa(l.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--", "env", "-i",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "TERM=dumb", name,
	}, args...))
}

// LANCommand is a program of the LAN client.
func (l *Lab) LANCommand(ctx context.Context, name string, args ...string) *exec.Cmd {
	return l.inside(ctx, append([]string{"--net=" + l.LANNetNS(), "--", name}, args...))
}

func (l *Lab) inside(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(l.cgroup.Fd())}
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// Run runs a program on the host and returns what it printed; the error holds it too.
func (l *Lab) Run(ctx context.Context, name string, args ...string) (string, error) {
	return run(l.Command(ctx, name, args...))
}

// LAN runs a program of the LAN client and returns what it printed.
func (l *Lab) LAN(ctx context.Context, name string, args ...string) (string, error) {
	return run(l.LANCommand(ctx, name, args...))
}

// Ping tells whether one packet of the LAN client to address is answered within a second.
func (l *Lab) Ping(ctx context.Context, address string) bool {
	_, err := l.LAN(ctx, "ping", "-n", "-c", "1", "-W", "1", address)
	return err == nil
}

func run(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// makeNetworks makes the two namespaces: the host with its bridge and its uplink, and the client.
func (l *Lab) makeNetworks(ctx context.Context) error {
	pve, lan := l.hostNet(), l.lanNet()
	for _, args := range [][]string{
		{"netns", "add", pve},
		{"netns", "add", lan},
		{"-n", pve, "link", "set", "lo", "up"},
		{"-n", lan, "link", "set", "lo", "up"},
		{"-n", pve, "link", "add", "vmbr0", "type", "bridge"},
		{"-n", pve, "address", "add", HostAddress + "/24", "dev", "vmbr0"},
		{"-n", pve, "link", "set", "vmbr0", "up"},
		{"-n", pve, "link", "add", "eno1", "type", "veth", "peer", "name", "eth0", "netns", lan},
		{"-n", pve, "address", "add", HostLAN + "/24", "dev", "eno1"},
		{"-n", pve, "link", "set", "eno1", "up"},
		{"-n", lan, "address", "add", LANAddress + "/24", "dev", "eth0"},
		{"-n", lan, "link", "set", "eth0", "up"},
		{"-n", lan, "route", "add", "default", "via", HostLAN},
		{"-n", pve, "address", "add", HostAddress6 + "/64", "dev", "vmbr0", "nodad"},
		{"-n", pve, "address", "add", HostLAN6 + "/64", "dev", "eno1", "nodad"},
		{"-n", lan, "address", "add", LANAddress6 + "/64", "dev", "eth0", "nodad"},
		{"-n", lan, "route", "add", "default", "via", HostLAN6},
		// The host routes between its LAN and its guests, as PVE's documentation on routed setups has it.
		{"netns", "exec", pve, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"},
	} {
		if _, err := run(exec.CommandContext(ctx, "ip", args...)); err != nil {
			return fmt.Errorf("make the lab's networks: %w", err)
		}
	}
	return nil
}

// startHost starts the host's first process and waits for its systemd.
func (l *Lab) startHost(ctx context.Context) error {
	for _, dir := range []string{"host", "store"} {
		if err := os.MkdirAll(filepath.Join(l.dir, dir), 0o755); err != nil {
			return fmt.Errorf("start the lab host: %w", err)
		}
	}
	script := filepath.Join(l.dir, "host.sh")
	if err := os.WriteFile(script, []byte(hostScript), 0o700); err != nil {
		return fmt.Errorf("start the lab host: %w", err)
	}
	group, err := cgroupPath(l.Name)
	if err != nil {
		return err
	}
	// Programs that are run on the host from outside go to a child of their own: systemd owns the others.
	if err := os.MkdirAll(filepath.Join(group, "exec"), 0o755); err != nil {
		return fmt.Errorf("make the lab's cgroup: %w", err)
	}
	own, err := os.Open(group)
	if err != nil {
		return fmt.Errorf("open the lab's cgroup: %w", err)
	}
	defer own.Close()
	if l.cgroup, err = os.Open(filepath.Join(group, "exec")); err != nil {
		return fmt.Errorf("open the lab's cgroup: %w", err)
	}
	logFile, err := os.Create(filepath.Join(l.dir, "host.log"))
	if err != nil {
		return fmt.Errorf("start the lab host: %w", err)
	}
	defer logFile.Close()
	cmd := exec.Command("nsenter", "--net="+l.NetNS(), "unshare", "--mount", "--pid", "--uts", "--cgroup", "--ipc", "--fork",
		"--kill-child", "--propagation", "private", "--mount-proc", script, l.dir, l.Node, l.root)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(own.Fd()), Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the lab host: %w", err)
	}
	go func() { _ = cmd.Wait(); close(l.ended) }()
	if err := l.waitHost(ctx, cmd.Process.Pid); err != nil {
		log, _ := os.ReadFile(logFile.Name())
		err = fmt.Errorf("start the lab host: %w: %s", err, strings.TrimSpace(string(log)))
		if short := roomLeft().short(); short != "" {
			err = fmt.Errorf("%w (this machine is short: %s)", err, short)
		}
		return err
	}
	return nil
}

// waitHost finds the host's first process, the child of unshare, and waits until its systemd says running.
func (l *Lab) waitHost(ctx context.Context, unsharePID int) error {
	children := fmt.Sprintf("/proc/%d/task/%d/children", unsharePID, unsharePID)
	last := errors.New("its first process did not appear")
	over := false // it will not come, however long one waits
	err := l.Wait(ctx, hostStart, func() bool {
		select {
		case <-l.ended:
			last, over = errors.New("its first process ended"), true
			return true
		default:
		}
		if l.pid == 0 {
			data, _ := os.ReadFile(children)
			pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
			if err != nil {
				return false
			}
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if strings.TrimSpace(string(comm)) != "systemd" {
				return false
			}
			l.pid = pid
		}
		// "degraded" would be a unit that failed: the lab must not start that way.
		out, err := l.Run(ctx, "systemctl", "is-system-running")
		state := strings.TrimSpace(out)
		last, over = fmt.Errorf("systemd is %s", state), state == "degraded"
		return err == nil || over
	})
	if err == nil && !over {
		return nil
	}
	return errors.Join(last, err, l.unitsInTheWay())
}

// hostStart is how long a host may take to start; on a busy machine it takes long and comes.
const hostStart = 2 * time.Minute

// unitsInTheWay names the units of the host that failed, and those that are still waited for.
func (l *Lab) unitsInTheWay() error {
	if l.pid == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(background(), 5*time.Second)
	defer cancel()
	var errs []error
	for _, list := range []struct {
		what string
		args []string
	}{{"failed", []string{"list-units", "--failed", "--plain", "--no-legend", "--no-pager"}}, {"waited for", []string{"list-jobs", "--plain", "--no-legend", "--no-pager"}}} {
		if out, err := l.Run(ctx, "systemctl", list.args...); err == nil && strings.TrimSpace(out) != "" {
			errs = append(errs, fmt.Errorf("%s: %s", list.what, strings.Join(strings.Split(strings.TrimSpace(out), "\n"), "; ")))
		}
	}
	return errors.Join(errs...)
}

// Wait polls until ok says yes, for at most limit.
func (l *Lab) Wait(ctx context.Context, limit time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not so within %s: %w", limit, ctx.Err())
		}
	}
	return nil
}

// background is for what must outlive the context of a caller.
func background() context.Context { return context.Background() }

// InNetNS runs f on a thread that is in the network namespace at path; what f opens (a listener) stays in it.
func InNetNS(path string, f func() error) error {
	return onThread(func() error {
		ns, err := os.Open(path)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		return f()
	})
}
