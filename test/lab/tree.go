package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DefaultCache is where trees are kept, unless LABD_LAB_CACHE names another directory.
const DefaultCache = "/var/cache/labd-lab"

// mirror is where Debian's packages come from.
const mirror = "http://deb.debian.org/debian"

// treePackages are in every tree: an init and a Docker.
const treePackages = "systemd,systemd-sysv,dbus,docker.io,docker-cli,iptables,iproute2,iputils-ping"

// Tree returns the root of a Debian release with Docker, which is built once and kept: forky has Docker 28. A build
// that was cut off is never used.
func Tree(ctx context.Context, suite string) (string, error) {
	cache := os.Getenv("LABD_LAB_CACHE")
	if cache == "" {
		cache = DefaultCache
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("keep a tree of %s: %w", suite, err)
	}
	lock, err := os.OpenFile(filepath.Join(cache, suite+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", fmt.Errorf("keep a tree of %s: %w", suite, err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil { // waits for another test that builds it
		return "", fmt.Errorf("keep a tree of %s: %w", suite, err)
	}
	tree := filepath.Join(cache, suite)
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	building := tree + ".building"
	if err := os.RemoveAll(building); err != nil {
		return "", fmt.Errorf("build a tree of %s: %w", suite, err)
	}
	args := []string{"--variant=minbase", "--include=" + treePackages, suite, building, mirror}
	if _, err := os.Stat("/usr/share/debootstrap/scripts/" + suite); err != nil {
		args = append(args, "/usr/share/debootstrap/scripts/sid") // a release that this debootstrap does not know yet
	}
	if _, err := run(exec.CommandContext(ctx, "debootstrap", args...)); err != nil {
		return "", errors.Join(fmt.Errorf("build a tree of %s: %w", suite, err), os.RemoveAll(building))
	}
	if err := os.Rename(building, tree); err != nil {
		return "", fmt.Errorf("build a tree of %s: %w", suite, err)
	}
	return tree, nil
}
