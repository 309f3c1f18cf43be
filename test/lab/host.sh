#!/bin/sh
# Becomes the lab's PVE host: runs as the first process of fresh namespaces, makes a root of its own over another
# root, and hands over to systemd.
#   $1 the lab's directory   $2 the host name   $3 the root below it: the machine's, or a tree
set -eu
dir=$1
name=$2
lower=$3

hostname "$name"
mount -t tmpfs -o mode=755 tmpfs "$dir/host"
mkdir "$dir/host/upper" "$dir/host/work" "$dir/host/root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$dir/host/upper,workdir=$dir/host/work" "$dir/host/root"
root=$dir/host/root

mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir -p "$root/dev/net" "$root/dev/pts" "$root/dev/shm" "$root/dev/disk/by-uuid" "$root/dev/.lab/sys" "$root/dev/.lab/proc"
for node in null zero full random urandom tty fuse kmsg loop-control net/tun; do
	if [ -e "/dev/$node" ]; then
		: >"$root/dev/$node"
		mount --bind "/dev/$node" "$root/dev/$node"
	fi
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
# Plain ext4 for what cannot lie on an overlay: containers' upper layers and Docker's images.
mkdir -p "$root/lab"
mount --bind "$dir/store" "$root/lab"

printf '%s\n' "$name" >"$root/etc/hostname"
printf '127.0.0.1 localhost %s\n' "$name" >"$root/etc/hosts"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
: >"$root/etc/fstab"
printf 'root:100000:65536\n' >"$root/etc/subuid"
printf 'root:100000:65536\n' >"$root/etc/subgid"

# Only what a test asks for runs, and nothing that would reach outside: sysctls of the kernel are the machine's.
units=$root/etc/systemd/system
rm -rf "$units"
mkdir -p "$units"
ln -s /lib/systemd/system/multi-user.target "$units/default.target"
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service \
	systemd-modules-load.service systemd-sysctl.service systemd-networkd.service systemd-networkd.socket \
	systemd-timesyncd.service systemd-journal-flush.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
	systemd-logind.service systemd-remount-fs.service systemd-random-seed.service systemd-pstore.service \
	getty.target console-getty.service getty-static.service apparmor.service sys-kernel-debug.mount \
	sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount \
	docker.service docker.socket containerd.service lxc.service lxc-net.service e2scrub_reap.service; do
	ln -s /dev/null "$units/$unit"
done

# Read-only /sys tells systemd that there is no udev to wait for; the kernel allows further sysfs and proc mounts, as
# containers make them, only where one without covered parts is visible.
mount -t sysfs sysfs "$root/dev/.lab/sys"
mount -t proc proc "$root/dev/.lab/proc"
mount -o remount,bind,ro "$root/sys"

mkdir -p "$root/mnt/old"
cd "$root"
pivot_root . mnt/old
umount -l /mnt/old
rmdir /mnt/old
# As on any host: a unit with a mount namespace of its own follows what is mounted and unmounted outside.
mount --make-rshared /
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=lab TERM=dumb \
	/lib/systemd/systemd --log-target=journal --show-status=0 </dev/null >/dev/null 2>&1
