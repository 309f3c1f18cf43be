package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"labd/test/pvesim"
	"labd/test/pvesim/pmxcfs"
)

// tokenFile is where the host keeps labd's API token.
const tokenFile = "/etc/labd/token"

// StartPVE starts PVE's API for the host, on 127.0.0.1:8006 of its network namespace, with the files of the host
// below it, and puts its certificate authority and a token where labd finds them. storages are sections for
// storage.cfg behind the one of local.
func (l *Lab) StartPVE(ctx context.Context, storages ...string) (*pvesim.Server, error) {
	cfg := "dir: local\n\tpath /var/lib/vz\n\tcontent backup,iso,vztmpl\n\n"
	for _, s := range storages {
		cfg += s
	}
	if err := os.MkdirAll(l.Path("/var/lib/vz"), 0o755); err != nil {
		return nil, err
	}
	if err := l.WriteFile("/etc/pve/storage.cfg", []byte(cfg), 0o640); err != nil {
		return nil, err
	}
	token, err := pvesim.Prepare(l.Root(), l.Node)
	if err != nil {
		return nil, fmt.Errorf("start PVE's API: %w", err)
	}
	var listener net.Listener
	if err := InNetNS(l.NetNS(), func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:8006")
		return err
	}); err != nil {
		return nil, fmt.Errorf("start PVE's API: %w", err)
	}
	var clusterFS pvesim.ClusterFS
	if l.clusterFS != nil {
		clusterFS = l.clusterFS
	}
	server, err := pvesim.Start(ctx, pvesim.Config{
		Root: l.Root(), Node: l.Node, Listener: listener, ClusterFS: clusterFS,
		Systemctl: func(ctx context.Context, args ...string) ([]byte, error) {
			return l.Command(ctx, "systemctl", args...).CombinedOutput()
		},
		IsBlockDevice: l.isBlockDevice,
		Mounted: func(path string) bool {
			_, err := l.Run(ctx, "mountpoint", "-q", path)
			return err == nil
		},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start PVE's API: %w", err), listener.Close())
	}
	if err := server.WriteCA(); err != nil {
		server.Close()
		return nil, fmt.Errorf("start PVE's API: %w", err)
	}
	return server, l.WriteFile(tokenFile, []byte(token+"\n"), 0o600)
}

// MountClusterFS mounts a cluster file system with pmxcfs's rules on the host's /etc/pve. StartPVE, called after it, works
// on it. It goes with the host's mount namespace, so also with a reboot.
func (l *Lab) MountClusterFS() error {
	if err := os.MkdirAll(l.Path("/etc/pve"), 0o755); err != nil {
		return fmt.Errorf("mount /etc/pve of the lab host: %w", err)
	}
	in := func(f func() error) error {
		return onThread(func() error {
			// A thread that shares its root directory with others may not change its mount namespace (setns(2)).
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if err := l.enterMounts(); err != nil {
				return err
			}
			return f()
		})
	}
	var err error
	l.clusterFS, err = pmxcfs.Mount("/etc/pve", pmxcfs.Options{Node: l.Node, In: in})
	return err
}

// InstallPVEPrograms puts pvesh and pveum, out of the directory bin, into the host's PATH.
func (l *Lab) InstallPVEPrograms(server *pvesim.Server, bin string) error {
	data, err := os.ReadFile(filepath.Join(bin, "pvesh"))
	if err != nil {
		return fmt.Errorf("install pvesh in the lab: %w", err)
	}
	const program = "/usr/local/lib/pvesim"
	if err := l.WriteFile(program, data, 0o755); err != nil {
		return err
	}
	return server.InstallPrograms(l.Path("/usr/local/bin"), program)
}

// isBlockDevice follows a path of the host as the host would, and tells whether a block device is there.
func (l *Lab) isBlockDevice(path string) error {
	if _, err := run(l.Command(background(), "test", "-b", path)); err != nil {
		return fs.ErrNotExist
	}
	return nil
}

// InstallLabd puts labd and labctl from bin and the unit into the host, with a configuration.
func (l *Lab) InstallLabd(bin, unit, config string) error {
	for _, name := range []string{"labd", "labctl"} {
		data, err := os.ReadFile(filepath.Join(bin, name))
		if err != nil {
			return fmt.Errorf("install labd in the lab: %w", err)
		}
		if err := l.WriteFile("/usr/bin/"+name, data, 0o755); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(unit)
	if err != nil {
		return fmt.Errorf("install labd in the lab: %w", err)
	}
	if err := l.WriteFile("/etc/systemd/system/labd.service", text, 0o644); err != nil {
		return err
	}
	return l.WriteFile("/etc/labd/labd.toml", []byte(config), 0o644)
}

// StartLabd starts labd under the host's systemd and returns when it says that it is ready, with the time that took.
func (l *Lab) StartLabd(ctx context.Context) (time.Duration, error) {
	if _, err := l.Run(ctx, "systemctl", "daemon-reload"); err != nil {
		return 0, err
	}
	start := time.Now()
	if out, err := l.Run(ctx, "systemctl", "start", "labd.service"); err != nil {
		log, _ := l.Run(ctx, "journalctl", "--no-pager", "-u", "labd")
		return 0, fmt.Errorf("start labd: %w: %s%s", err, out, log)
	}
	return time.Since(start), nil
}
