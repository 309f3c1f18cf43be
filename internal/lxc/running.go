package lxc

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"labd/internal/host"
)

// Running returns the ids of the running containers, sorted: those whose monitor listens on the abstract command
// socket @<lxc path>/<id>/command, as PVE::LXC lists active containers. It reads <procfs>/net/unix and asks nobody.
func Running(ctx context.Context, h *host.Host) ([]int, error) {
	ids, err := host.ReadTable(ctx, h, filepath.Join(h.Procfs, "net/unix"), func(r io.Reader) ([]int, error) { return parseUnix(r, h.LXC) })
	if err != nil {
		return nil, fmt.Errorf("list running containers: %w", err)
	}
	return ids, nil
}

// listening is the flag of a socket that accepts connections (__SO_ACCEPTCON in include/linux/net.h), which tells the
// monitor's socket from the connections to it, which carry the same name.
const listening = 1 << 16

// parseUnix reads the format of /proc/net/unix (net/unix/af_unix.c): Num RefCount Protocol Flags Type St Inode Path.
func parseUnix(r io.Reader, lxcPath string) ([]int, error) {
	var ids []int
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) != 8 {
			continue
		}
		flags, err := strconv.ParseUint(fields[3], 16, 64)
		if err != nil || flags&listening == 0 {
			continue
		}
		name, ok := strings.CutPrefix(fields[7], "@"+strings.TrimSuffix(lxcPath, "/")+"/")
		if !ok {
			continue
		}
		number, ok := strings.CutSuffix(name, "/command")
		if !ok {
			continue
		}
		// PVE's container ids are numbers from 100 on; anything else is not one of its containers.
		if id, err := strconv.Atoi(number); err == nil && id > 0 && strconv.Itoa(id) == number {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), scanner.Err()
}
