package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// IDBase is what id 0 of an unprivileged container is outside; PVE's default.
const IDBase = 100000

// idCount is how many ids a container has.
const idCount = 65536

// onThread runs f on a thread of its own that ends with f, so that f may change the thread's namespaces.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The process's first thread cannot end before the process, and would keep the namespaces: it holds still
			// while another does it.
			defer runtime.UnlockOSThread()
			done <- onThread(f)
			return
		}
		// Never unlocked: the thread ends with this goroutine.
		done <- f()
	}()
	return <-done
}

// attach mounts a directory of the machine, without what is mounted below it, at a path of the lab host. With idmap
// its files belong to the ids of an unprivileged container.
func (l *Lab) attach(source, target string, idmap bool) error {
	return onThread(func() error {
		tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("take a view of %s: %w", source, err)
		}
		defer unix.Close(tree)
		if idmap {
			if err := setIDMap(tree); err != nil {
				return err
			}
		}
		// A thread that shares its root directory with others may not change its mount namespace (setns(2)).
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := l.enterMounts(); err != nil {
			return err
		}
		if _, err := os.Stat(target); err != nil {
			if err := os.MkdirAll(target, 0o755); err != nil {
				return err
			}
		}
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount %s at %s of the lab host: %w", source, target, err)
		}
		return nil
	})
}

// MountHung mounts a file system at a path of the host that answers nobody, as a share whose server is gone: whoever
// touches it hangs until release is called.
func (l *Lab) MountHung(path string) (release func(), err error) {
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("mount a file system that hangs: %w", err)
	}
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := l.enterMounts(); err != nil {
			return err
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		return unix.Mount("nas:/backup", path, "fuse.nfs", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse.Fd()))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount a file system that hangs: %w", err), fuse.Close())
	}
	return func() { _ = fuse.Close() }, nil
}

// enterMounts puts the calling thread into the host's mount namespace.
func (l *Lab) enterMounts() error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", l.pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the lab host's mount namespace: %w", err)
	}
	return nil
}

// setIDMap maps the ids of a detached mount as those of an unprivileged container (mount_setattr(2)).
func setIDMap(tree int) error {
	mapping := []syscall.SysProcIDMap{{ContainerID: 0, HostID: IDBase, Size: idCount}}
	holder := exec.Command("sleep", "60")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: mapping, GidMappings: mapping, Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		return fmt.Errorf("make a user namespace: %w", err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
	userNS, err := os.Open(filepath.Join("/proc", fmt.Sprint(holder.Process.Pid), "ns/user"))
	if err != nil {
		return fmt.Errorf("open the user namespace: %w", err)
	}
	defer userNS.Close()
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userNS.Fd())}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("map the ids of a mount: %w", err)
	}
	return nil
}

// hideLower makes a directory of an overlay's upper layer hide what the lower layer has there (overlayfs, "opaque
// directories").
func hideLower(dir string) error {
	if err := unix.Setxattr(dir, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("hide the lower layer of %s: %w", dir, err)
	}
	return nil
}
