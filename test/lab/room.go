package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// wantInotify are the inotify instances that a lab's systemd and its services take.
	wantInotify = 24
	// wantMemory is what a lab needs, in bytes: systemd, a container with Docker, labd.
	wantMemory = 768 << 20
)

// room is what the machine has left of what a lab needs; a negative number is not known.
type room struct {
	inotify int   // instances that root may still make
	memory  int64 // bytes
}

// roomLeft looks at the machine.
func roomLeft() room {
	left := room{-1, -1}
	if data, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances"); err == nil {
		if most, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			left.inotify = max(0, most-inotifyInUse())
		}
	}
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		left.memory = memAvailable(string(data))
	}
	return left
}

// inotifyInUse counts the inotify instances of root's processes, all namespaces included: the kernel counts them by user.
func inotifyInUse() int {
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0
	}
	count := 0
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && target == "anon_inode:inotify" {
			count++
		}
	}
	return count
}

// memAvailable reads MemAvailable of /proc/meminfo, in bytes; -1 where it is not there.
func memAvailable(text string) int64 {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemAvailable:" {
			if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				return kib << 10
			}
		}
	}
	return -1
}

// short says what is too little for a lab, and what to do; it is empty where there is enough.
func (r room) short() string {
	var parts []string
	if r.inotify >= 0 && r.inotify < wantInotify {
		parts = append(parts, fmt.Sprintf("only %d inotify instances are free and a lab takes about %d: sysctl fs.inotify.max_user_instances=512", r.inotify, wantInotify))
	}
	if r.memory >= 0 && r.memory < wantMemory {
		parts = append(parts, fmt.Sprintf("only %d MiB of memory are free and a lab takes about %d", r.memory>>20, int64(wantMemory)>>20))
	}
	return strings.Join(parts, "; ")
}
