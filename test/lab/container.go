package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Container says what LXC container to make.
type Container struct {
	// ID is the container's id, 100 to 250; its address is 10.77.0.ID.
	ID int
	// Root is the directory of the machine that the container's files come from; the machine's own root when empty.
	// Its files belong to root; the container sees them with mapped ids.
	Root string
	// NoDocker leaves Docker stopped.
	NoDocker bool
	// Legacy makes Docker use iptables-legacy.
	Legacy bool
	// Privileged makes the container's root the host's.
	Privileged bool
	// Podman starts Podman's service in the place of Docker.
	Podman bool
	// Daemon is Docker's daemon.json; none when empty.
	Daemon string
	// Config are further lines of LXC's configuration.
	Config []string
}

// base is the host's id of the container's root.
func (s Container) base() int {
	if s.Privileged {
		return 0
	}
	return IDBase
}

// CT is a running container.
type CT struct {
	ID   int
	lab  *Lab
	dir  string // of the machine
	base int    // the host's id of its root

	podman bool // its engine is Podman
}

// Address is the container's address on vmbr0.
func (c *CT) Address() string { return "10.77.0." + strconv.Itoa(c.ID) }

// Address6 is its IPv6 address.
func (c *CT) Address6() string { return "fd00:77::" + strconv.Itoa(c.ID) }

// lxcConfig is the part of a container's configuration that PVE generates alike (PVE::LXC, update_lxc_config).
const lxcConfig = `lxc.uts.name = ct%[1]d
lxc.init.cmd = /lib/systemd/systemd
lxc.rootfs.path = dir:/var/lib/lxc/%[1]d/rootfs
%[2]slxc.cgroup.relative = 0
lxc.cgroup.dir.monitor = lxc.monitor/%[1]d
lxc.cgroup.dir.container = lxc/%[1]d
lxc.cgroup.dir.container.inner = ns
lxc.net.0.type = veth
lxc.net.0.link = vmbr0
lxc.net.0.flags = up
lxc.net.0.veth.pair = veth%[1]di0
lxc.net.0.name = eth0
lxc.net.0.ipv4.address = 10.77.0.%[1]d/24
lxc.net.0.ipv4.gateway = 10.77.0.1
lxc.net.0.ipv6.address = fd00:77::%[1]d/64
lxc.net.0.ipv6.gateway = fd00:77::1
lxc.apparmor.profile = unconfined
lxc.mount.auto = proc:mixed sys:mixed cgroup:rw:force
lxc.mount.entry = proc dev/.lxc/proc proc create=dir,optional 0 0
lxc.mount.entry = sysfs dev/.lxc/sys sysfs create=dir,optional 0 0
lxc.mount.entry = /lab/%[1]d/docker var/lib/docker none bind,create=dir 0 0
lxc.mount.entry = /lab/%[1]d/containerd var/lib/containerd none bind,create=dir 0 0
lxc.mount.entry = /lab/%[1]d/podman var/lib/containers none bind,create=dir 0 0
lxc.mount.entry = /dev/net/tun dev/net/tun none bind,create=file,optional 0 0
lxc.tty.max = 0
lxc.pty.max = 1024
# A new network namespace inherits ip_forward from the machine. A PVE host has it off by default, and only a Docker
# that had to turn it on itself sets the FORWARD policy to DROP.
lxc.sysctl.net.ipv4.ip_forward = 0
`

// podmanConfig: there are no limits on memory and processes where the machine keeps those controllers to itself.
const podmanConfig = "[containers]\ncgroups = \"disabled\"\n"

const containerService = `[Unit]
Description=PVE LXC Container: %i
[Service]
Type=simple
Delegate=yes
KillMode=mixed
TimeoutStopSec=20s
ExecStart=/usr/bin/lxc-start -F -n %i -o /var/log/lxc-%i.log
ExecStop=/usr/bin/lxc-stop -n %i -t 10
`

// AddContainer makes an unprivileged container with systemd and, unless NoDocker, a Docker daemon, and starts it as
// PVE does. It does not wait for Docker.
func (l *Lab) AddContainer(ctx context.Context, spec Container) (*CT, error) {
	if spec.ID < 100 || spec.ID > 250 {
		return nil, fmt.Errorf("container id %d is not within 100 to 250", spec.ID)
	}
	id := strconv.Itoa(spec.ID)
	c := &CT{ID: spec.ID, lab: l, dir: filepath.Join(l.dir, "store", id), base: spec.base(), podman: spec.Podman}
	if err := c.makeRoot(ctx, spec); err != nil {
		return nil, fmt.Errorf("make container %s: %w", id, err)
	}
	pveConfig := fmt.Sprintf("arch: amd64\nfeatures: keyctl=1,nesting=1\nhostname: ct%[1]s\nmemory: 512\n"+
		"net0: name=eth0,bridge=vmbr0,gw=%[2]s,hwaddr=BC:24:11:00:00:%02[3]x,ip=%[4]s/24,type=veth\n"+
		"ostype: debian\nrootfs: local:%[1]s/vm-%[1]s-disk-0.raw,size=8G\nswap: 512\n", id, HostAddress, spec.ID, c.Address())
	idmap := ""
	if !spec.Privileged {
		pveConfig += "unprivileged: 1\n"
		idmap = fmt.Sprintf("lxc.idmap = u 0 %[1]d %[2]d\nlxc.idmap = g 0 %[1]d %[2]d\n", IDBase, idCount)
	}
	files := map[string]string{
		"/etc/pve/nodes/" + l.Node + "/lxc/" + id + ".conf": pveConfig,
		"/var/lib/lxc/" + id + "/config":                    fmt.Sprintf(lxcConfig, spec.ID, idmap) + strings.Join(spec.Config, "\n") + "\n",
		"/etc/systemd/system/pve-container@.service":        containerService,
	}
	for path, text := range files {
		if err := l.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if _, err := l.Run(ctx, "systemctl", "daemon-reload"); err != nil {
		return nil, err
	}
	return c, c.Start(ctx)
}

// makeRoot makes the container's root: the source with mapped ids below, a layer of its own above.
func (c *CT) makeRoot(ctx context.Context, spec Container) error {
	id := strconv.Itoa(c.ID)
	for _, sub := range []string{"upper", "work", "docker", "containerd", "podman"} {
		dir := filepath.Join(c.dir, sub)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, c.base, c.base)); err != nil {
			return err
		}
	}
	source := spec.Root
	if source == "" {
		source = "/"
	}
	lower := "/lab/" + id + "/lower"
	if err := c.lab.attach(source, lower, !spec.Privileged); err != nil {
		return err
	}
	upper := filepath.Join(c.dir, "upper")
	if err := c.writeUnits(filepath.Join(upper, "etc/systemd/system"), spec); err != nil {
		return err
	}
	if err := c.writeOwned(filepath.Join(upper, "etc/hostname"), "ct"+id+"\n"); err != nil {
		return err
	}
	if err := c.writeOwned(filepath.Join(upper, "etc/fstab"), ""); err != nil {
		return err
	}
	if spec.Podman {
		if err := c.writeOwned(filepath.Join(upper, "etc/containers/containers.conf"), podmanConfig); err != nil {
			return err
		}
	}
	if spec.Daemon != "" {
		if err := c.writeOwned(filepath.Join(upper, "etc/docker/daemon.json"), spec.Daemon); err != nil {
			return err
		}
	}
	root := "/var/lib/lxc/" + id + "/rootfs"
	if err := os.MkdirAll(c.lab.Path(root), 0o755); err != nil {
		return err
	}
	_, err := c.lab.Run(ctx, "mount", "-t", "overlay", "overlay", "-o",
		fmt.Sprintf("lowerdir=%s,upperdir=/lab/%s/upper,workdir=/lab/%s/work", lower, id, id), root)
	return err
}

// writeUnits makes the directory of the container's own units, hiding those of the source.
func (c *CT) writeUnits(dir string, spec Container) error {
	if err := c.mkdirOwned(dir, filepath.Join(c.dir, "upper")); err != nil {
		return err
	}
	if err := hideLower(dir); err != nil {
		return err
	}
	links := map[string]string{"default.target": "/lib/systemd/system/multi-user.target"}
	for _, masked := range []string{
		"getty.target", "console-getty.service", "container-getty@.service", "systemd-logind.service", "systemd-networkd.service",
		"systemd-networkd.socket", "systemd-timesyncd.service", "systemd-binfmt.service", "systemd-udevd.service", "apparmor.service",
		"systemd-sysctl.service", "systemd-journal-flush.service", "systemd-resolved.service", "lxc.service", "lxc-net.service",
		"e2scrub_reap.service", "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
	} {
		links[masked] = "/dev/null"
	}
	if spec.Podman {
		if err := c.mkdirOwned(filepath.Join(dir, "sockets.target.wants"), dir); err != nil {
			return err
		}
		links["sockets.target.wants/podman.socket"] = "/lib/systemd/system/podman.socket"
	}
	if spec.NoDocker || spec.Podman {
		links["docker.service"], links["docker.socket"], links["containerd.service"] = "/dev/null", "/dev/null", "/dev/null"
	} else {
		if err := c.mkdirOwned(filepath.Join(dir, "multi-user.target.wants"), dir); err != nil {
			return err
		}
		links["multi-user.target.wants/docker.service"] = "/lib/systemd/system/docker.service"
	}
	for name, target := range links {
		if err := errors.Join(os.Symlink(target, filepath.Join(dir, name)), os.Lchown(filepath.Join(dir, name), c.base, c.base)); err != nil {
			return err
		}
	}
	if !spec.Legacy {
		return nil
	}
	bin := filepath.Join(c.dir, "upper/opt/iptables-legacy")
	if err := c.mkdirOwned(bin, filepath.Join(c.dir, "upper")); err != nil {
		return err
	}
	for _, tool := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			if err := os.Symlink("/usr/sbin/"+tool+"-legacy"+suffix, filepath.Join(bin, tool+suffix)); err != nil {
				return err
			}
		}
	}
	return c.writeOwned(filepath.Join(dir, "docker.service.d/legacy.conf"),
		"[Service]\nEnvironment=PATH=/opt/iptables-legacy:/usr/sbin:/usr/bin:/sbin:/bin\n")
}

// Start starts the container and waits until its init answers.
func (c *CT) Start(ctx context.Context) error {
	if _, err := c.lab.Run(ctx, "systemctl", "start", c.service()); err != nil {
		return err
	}
	err := c.lab.Wait(ctx, 20*time.Second, func() bool {
		out, err := c.lab.Run(ctx, "lxc-info", "-n", strconv.Itoa(c.ID), "-s", "-H")
		return err == nil && strings.TrimSpace(out) == "RUNNING"
	})
	if err != nil {
		log, _ := os.ReadFile(c.lab.Path("/var/log/lxc-" + strconv.Itoa(c.ID) + ".log"))
		return fmt.Errorf("start container %d: %w: %s", c.ID, err, log)
	}
	return nil
}

// Stop stops the container.
func (c *CT) Stop(ctx context.Context) error {
	_, err := c.lab.Run(ctx, "systemctl", "stop", c.service())
	return err
}

func (c *CT) service() string { return "pve-container@" + strconv.Itoa(c.ID) + ".service" }

// Run runs a program in the container.
func (c *CT) Run(ctx context.Context, name string, args ...string) (string, error) {
	return c.lab.Run(ctx, "lxc-attach", append([]string{
		"-n", strconv.Itoa(c.ID), "--clear-env", "--set-var", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "--", name,
	}, args...)...)
}

// InitPID is the container's init as the host's PID namespace sees it.
func (c *CT) InitPID(ctx context.Context) (int, error) {
	out, err := c.lab.Run(ctx, "lxc-info", "-n", strconv.Itoa(c.ID), "-p", "-H")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// mkdirOwned makes dir and those above it up to root, all owned by the container's root.
func (c *CT) mkdirOwned(dir, root string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for d := dir; d != root && len(d) > len(root); d = filepath.Dir(d) {
		if err := os.Chown(d, c.base, c.base); err != nil {
			return err
		}
	}
	return nil
}

func (c *CT) writeOwned(file, text string) error {
	if err := c.mkdirOwned(filepath.Dir(file), filepath.Dir(filepath.Dir(filepath.Dir(file)))); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(file, []byte(text), 0o644), os.Chown(file, c.base, c.base))
}
