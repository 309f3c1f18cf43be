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

// Mirror is where Debian's packages come from.
const Mirror = "http://deb.debian.org/debian"

// What is in a tree: an init, and for Tree a Docker.
const (
	hostPackages   = "systemd,systemd-sysv,dbus,iptables,nftables,iproute2"
	dockerPackages = "systemd,systemd-sysv,dbus,docker.io,docker-cli,iptables,iproute2,iputils-ping"
	podmanPackages = "systemd,systemd-sysv,dbus,podman,netavark,aardvark-dns,crun,iptables,nftables,iproute2"
)

// CacheDir is where trees are kept.
func CacheDir() string {
	if dir := os.Getenv("LABD_LAB_CACHE"); dir != "" {
		return dir
	}
	return DefaultCache
}

// Tree returns the root of a Debian release with Docker: trixie has Docker 26, forky 28. It is built once and kept.
func Tree(ctx context.Context, suite string) (string, error) {
	return buildTree(ctx, suite, suite, dockerPackages)
}

// PodmanTree returns the root of a Debian release with Podman. It is built once and kept.
func PodmanTree(ctx context.Context, suite string) (string, error) {
	return buildTree(ctx, suite+"-podman", suite, podmanPackages)
}

// HostTree returns the root of a Debian release, for Config.Root. It is built once and kept.
func HostTree(ctx context.Context, suite string) (string, error) {
	return buildTree(ctx, suite+"-host", suite, hostPackages)
}

// buildTree builds a tree, unless it is there. A build that was cut off is never used.
func buildTree(ctx context.Context, name, suite, packages string) (string, error) {
	cache := CacheDir()
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("keep a tree of %s: %w", suite, err)
	}
	lock, err := os.OpenFile(filepath.Join(cache, name+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", fmt.Errorf("keep a tree of %s: %w", suite, err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil { // waits for another test that builds it
		return "", fmt.Errorf("keep a tree of %s: %w", suite, err)
	}
	tree := filepath.Join(cache, name)
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	building := tree + ".building"
	if err := os.RemoveAll(building); err != nil {
		return "", fmt.Errorf("build a tree of %s: %w", suite, err)
	}
	args := []string{"--variant=minbase", "--include=" + packages, suite, building, Mirror}
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
