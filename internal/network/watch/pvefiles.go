package watch

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pve looks at the files of /etc/pve that say something of containers' networks, again and again.
func (w *watcher) pve(ctx context.Context) {
	var before map[string]string
	for ctx.Err() == nil {
		now := w.pveFiles()
		if before != nil {
			ids := changedGuests(before, now)
			if slices.Contains(ids, 0) {
				if running, err := w.Containers.Running(ctx); err == nil {
					ids = append(running, 0)
				}
			}
			for _, id := range ids {
				w.Wake(id, sourcePVE)
			}
		}
		before = now
		sleep(ctx, pveEvery)
	}
}

// pveFiles returns the files with what tells one state of each from another. What cannot be read in time is left out.
func (w *watcher) pveFiles() map[string]string {
	reader := w.Host.NewReader(time.Second)
	defer reader.Close()
	files := map[string]string{}
	stat := func(path string) {
		if info, err := reader.Stat(filepath.Join(w.Host.PVE, path)); err == nil && !info.IsDir() {
			files[path] = fmt.Sprintf("%d %d", info.ModTime().UnixNano(), info.Size())
		}
	}
	for _, dir := range []string{"lxc", "firewall"} {
		names, _ := reader.Names(filepath.Join(w.Host.PVE, dir))
		for _, name := range names {
			stat(filepath.Join(dir, name))
		}
	}
	for _, path := range []string{"local/host.fw", "datacenter.cfg", "corosync.conf"} {
		stat(path)
	}
	return files
}

// changedGuests returns the containers whose files changed; 0 stands for the host, with what concerns all of them.
func changedGuests(before, now map[string]string) []int {
	changed := map[int]bool{}
	note := func(path string) {
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".conf"), ".fw")
		id, err := strconv.Atoi(name)
		if err != nil {
			id = 0
		}
		changed[id] = true
	}
	for path, state := range now {
		if before[path] != state {
			note(path)
		}
	}
	for path := range before {
		if _, ok := now[path]; !ok {
			note(path)
		}
	}
	var ids []int
	for id := range changed {
		ids = append(ids, id)
	}
	return ids
}

func containerName(id int) string { return "container " + strconv.Itoa(id) }
