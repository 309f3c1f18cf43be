package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Disk is a loop-backed disk of the host with a file system, and the mount unit that PVE's panel makes for it.
type Disk struct {
	// Name is the storage's name; the disk is mounted at /mnt/pve/NAME.
	Name string
	// UUID is its file system's; empty for a disk without one.
	UUID string
	// Loop is the block device on the machine and on the host.
	Loop string

	lab  *Lab
	file string
}

// diskBytes is the size of a disk.
const diskBytes = 64 << 20

// AddDisk makes a disk, mounts it as Disks > Directory does, and returns when it is mounted.
func (l *Lab) AddDisk(ctx context.Context, name string) (*Disk, error) {
	d, err := l.newDisk(name)
	if err != nil {
		return nil, err
	}
	d.UUID = newUUID()
	if _, err := run(exec.CommandContext(ctx, "mkfs.ext4", "-q", "-U", d.UUID, d.file)); err != nil {
		return nil, fmt.Errorf("make disk %s: %w", name, err)
	}
	if err := l.WriteFile("/etc/systemd/system/"+d.Unit(), []byte(d.unitText()), 0o644); err != nil {
		return nil, err
	}
	if err := d.plug(ctx); err != nil {
		return nil, err
	}
	if _, err := l.Run(ctx, "systemctl", "daemon-reload"); err != nil {
		return nil, err
	}
	if _, err := l.Run(ctx, "systemctl", "enable", "--now", d.Unit()); err != nil {
		return nil, fmt.Errorf("mount disk %s: %w", name, err)
	}
	return d, nil
}

// AddRawDisk makes a disk without a file system.
func (l *Lab) AddRawDisk(ctx context.Context, name string) (*Disk, error) {
	d, err := l.newDisk(name)
	if err != nil {
		return nil, err
	}
	return d, d.plug(ctx)
}

func (l *Lab) newDisk(name string) (*Disk, error) {
	d := &Disk{Name: name, lab: l, file: filepath.Join(l.dir, "disk-"+name+".img")}
	f, err := os.Create(d.file)
	if err != nil {
		return nil, fmt.Errorf("make disk %s: %w", name, err)
	}
	if err := errors.Join(f.Truncate(diskBytes), f.Close()); err != nil {
		return nil, fmt.Errorf("make disk %s: %w", name, err)
	}
	return d, nil
}

// Unit is the name of the mount unit. Names with characters that systemd escapes are not used in labs.
func (d *Disk) Unit() string { return "mnt-pve-" + d.Name + ".mount" }

// MountPoint is where the disk is mounted.
func (d *Disk) MountPoint() string { return "/mnt/pve/" + d.Name }

// unitText is the unit as PVE::API2::Disks::Directory writes it: sections and keys sorted, a blank line after each.
func (d *Disk) unitText() string {
	return "[Install]\nWantedBy=multi-user.target\n\n" +
		"[Mount]\nOptions=defaults\nType=ext4\nWhat=/dev/disk/by-uuid/" + d.UUID + "\nWhere=" + d.MountPoint() + "\n\n" +
		"[Unit]\nDescription=Mount storage '" + d.Name + "' under /mnt/pve\n\n"
}

// StorageEntry is the section that PVE adds to storage.cfg for the disk.
func (d *Disk) StorageEntry() string {
	return "dir: " + d.Name + "\n\tpath " + d.MountPoint() + "\n\tcontent backup,images,iso,rootdir,snippets,vztmpl\n\tis_mountpoint 1\n\tnodes " + d.lab.Node + "\n\n"
}

func (d *Disk) plug(ctx context.Context) error {
	out, err := run(exec.CommandContext(ctx, "losetup", "--find", "--show", d.file))
	if err != nil {
		return fmt.Errorf("plug disk %s: %w", d.Name, err)
	}
	d.Loop = strings.TrimSpace(out)
	node := d.lab.Path(d.Loop)
	if err := os.WriteFile(node, nil, 0o600); err != nil {
		return fmt.Errorf("plug disk %s: %w", d.Name, err)
	}
	if err := d.lab.attach(d.Loop, d.Loop, false); err != nil {
		return fmt.Errorf("plug disk %s: %w", d.Name, err)
	}
	if d.UUID == "" {
		return nil
	}
	return os.Symlink("../../"+filepath.Base(d.Loop), d.link())
}

func (d *Disk) link() string { return d.lab.Path("/dev/disk/by-uuid/" + d.UUID) }

// Pull takes the disk out while it is mounted: its link and its block device are gone, and the mount lives on without
// a device, as after a cable was pulled.
func (d *Disk) Pull(ctx context.Context) error {
	if d.UUID != "" {
		if err := os.Remove(d.link()); err != nil {
			return fmt.Errorf("pull disk %s: %w", d.Name, err)
		}
	}
	if _, err := d.lab.Run(ctx, "umount", d.Loop); err != nil {
		return fmt.Errorf("pull disk %s: %w", d.Name, err)
	}
	if err := os.Remove(d.lab.Path(d.Loop)); err != nil {
		return fmt.Errorf("pull disk %s: %w", d.Name, err)
	}
	// The kernel detaches a mounted loop device when its last user goes.
	if _, err := run(exec.CommandContext(ctx, "losetup", "--detach", d.Loop)); err != nil {
		return fmt.Errorf("pull disk %s: %w", d.Name, err)
	}
	return nil
}

// PullAndReboot takes the disk out and leaves the host as after the next boot: the unit is there and not mounted.
func (d *Disk) PullAndReboot(ctx context.Context) error {
	if _, err := d.lab.Run(ctx, "systemctl", "stop", d.Unit()); err != nil {
		return fmt.Errorf("pull disk %s: %w", d.Name, err)
	}
	return d.Pull(ctx)
}

// Replug puts the same disk back; its unit is not started.
func (d *Disk) Replug(ctx context.Context) error { return d.plug(ctx) }

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
