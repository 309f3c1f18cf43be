package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"labd/internal/host"
	"labd/internal/pve"
)

// Observer looks at the storages of this node.
type Observer struct {
	host   *host.Host
	node   string
	memory *Memory
	now    func() time.Time
	// Probe says that servers of network storages may be connected to. Major is the major version of the running PVE, 0
	// where it is not known.
	Probe bool
	Major func() int

	cluster    slow[clusterAnswer]
	references slow[referencesAnswer]
	lvm        slow[LVM]
	zfs        slow[ZFS]
	servers    slow[map[string]Server]
}

// NewObserver returns an Observer for the node of that name in PVE.
func NewObserver(h *host.Host, node string, memory *Memory, now func() time.Time) *Observer {
	return &Observer{host: h, node: node, memory: memory, now: now, Major: func() int { return 0 }}
}

// pmxcfsTimeout bounds a reading of /etc/pve, where a file system in user space answers.
const pmxcfsTimeout = 10 * time.Second

var (
	errNoConfig = errors.New("storage.cfg is missing or empty: the cluster file system is down, or nothing was ever configured")
	errPMXCFS   = errors.New("the cluster file system at /etc/pve does not answer")
	errSlow     = errors.New("it does not answer in time; labd goes on waiting")
)

// Observe reads storage.cfg, the cluster's files, the mount table, unit files and device links, and asks LVM, ZFS and
// the servers of network storages. It makes no call to PVE, since PVE's own status call activates storages, and it
// touches no path of a network file system. What does not answer in time is not known in these facts.
func (o *Observer) Observe(ctx context.Context) (*Facts, error) {
	f := &Facts{
		At: o.now(), Node: o.node, Sources: map[string]Source{}, Devices: map[string]Device{}, Directories: map[string]Directory{},
		References: map[string][]pve.Reference{}, Elsewhere: map[string][]string{}, Removable: map[string]bool{},
	}
	reader := o.host.NewReader(0)
	defer reader.Close()
	f.FstabFile, f.VzdumpFile = filepath.Join(o.host.Etc, "fstab"), filepath.Join(o.host.Etc, "vzdump.conf")
	f.Config, f.ConfigErr = o.readConfig(f, reader)
	o.readCluster(ctx, f)
	f.Mounts, f.MountsErr = o.host.Mounts(ctx)
	f.Seen = o.memory.Seen()
	f.Uptime, f.UptimeKnown = o.host.Uptime()
	if f.Config == nil {
		return f, nil
	}
	o.askSlow(ctx, f, reader)
	o.readLocal(f, reader)
	if entries := slices.DeleteFunc(judgeAll(f), func(e Entry) bool { return !needsReferences(e) }); len(entries) > 0 {
		o.readReferences(ctx, f, reader, entries)
	}
	return f, nil
}

func (o *Observer) readConfig(f *Facts, reader *host.Reader) (*pve.StorageConfig, error) {
	data, err := reader.File(filepath.Join(o.host.PVE, "storage.cfg"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(data)) == 0 {
		return nil, errNoConfig
	}
	if err != nil {
		return nil, fmt.Errorf("read storage.cfg: %w", err)
	}
	f.Text = data
	return pve.ParseStorageConfig(data, pve.StorageConfigOptions{Major: o.Major()}), nil
}

type clusterAnswer struct {
	cluster pve.Cluster
	err     error
}

func (o *Observer) readCluster(ctx context.Context, f *Facts) {
	ctx, cancel := context.WithTimeout(ctx, pmxcfsTimeout)
	defer cancel()
	answer, ok := o.cluster.get(ctx, "", 0, func() clusterAnswer {
		cluster, err := pve.ReadCluster(pve.DirFS(o.host.PVE))
		return clusterAnswer{cluster, err}
	})
	if !ok {
		answer.err = errPMXCFS
	}
	f.Cluster, f.ClusterErr = answer.cluster, answer.err
	if f.Config != nil && f.ClusterErr == nil && !f.Cluster.Mounted && o.host.PVE != host.DefaultPaths().PVE {
		// A copy of /etc/pve elsewhere has its files and not the link that pmxcfs makes.
		f.Cluster.Mounted, f.Cluster.Quorate = true, true
	}
}

// here tells the entries that PVE uses on this node.
func (o *Observer) here(f *Facts) []*pve.StorageSection {
	return slices.DeleteFunc(slices.Clone(f.Config.Sections), func(s *pve.StorageSection) bool { return s.Malformed != "" || !s.OnNode(o.node) })
}

// askSlow asks LVM, ZFS and servers, all at once and for a bounded time.
func (o *Observer) askSlow(ctx context.Context, f *Facts, reader *host.Reader) {
	var groups, datasets []string
	servers := map[string][]string{}
	var monitors []string
	for _, s := range o.here(f) {
		switch s.Type {
		case "lvm", "lvmthin":
			groups = append(groups, s.Get("vgname"))
		case "zfspool":
			datasets = append(datasets, s.Get("pool"))
		case "cephfs", "rbd":
			if s.Get("monhost") == "" && monitors == nil {
				conf, _ := reader.File(filepath.Join(o.host.PVE, "ceph.conf"))
				monitors = monitorsOf(conf)
			}
		}
		if o.Probe && !s.Disabled() {
			if at := endpoints(s, monitors); len(at) > 0 {
				servers[s.ID] = at
			}
		}
	}
	lvmKey, zfsKey := lvmKey(reader, o.host.Paths)+strings.Join(groups, ","), zfsKey(reader, o.host.Paths)+strings.Join(datasets, ",")
	ctx, cancel := context.WithTimeout(ctx, slowDeadline)
	defer cancel()
	var wg sync.WaitGroup
	// What is learned outlives this observation, so it must not end with its context.
	if len(groups) > 0 {
		wg.Go(func() {
			var ok bool
			if f.LVM, ok = o.lvm.get(ctx, lvmKey, lvmAge, func() LVM { return readLVM(context.Background(), o.host, groups) }); !ok {
				f.LVM = LVM{Asked: true, Err: errSlow}
			} else if f.LVM.Err != nil {
				o.lvm.forget()
			}
		})
	}
	if len(datasets) > 0 {
		wg.Go(func() {
			var ok bool
			if f.ZFS, ok = o.zfs.get(ctx, zfsKey, zfsAge, func() ZFS { return readZFS(context.Background(), o.host, datasets) }); !ok {
				f.ZFS = ZFS{Asked: true, Err: errSlow}
			} else if f.ZFS.Err != nil || f.ZFS.ScanErr != nil || f.ZFS.DatasetErr != nil {
				o.zfs.forget()
			}
		})
	}
	if len(servers) > 0 {
		wg.Go(func() {
			f.Servers, _ = o.servers.get(ctx, fmt.Sprint(servers), reachAge, func() map[string]Server { return reachServers(context.Background(), servers) })
		})
	}
	wg.Wait()
}

// readLocal finds what should be mounted where, and whether it is there.
func (o *Observer) readLocal(f *Facts, reader *host.Reader) {
	found := newSources(reader, o.host.Etc)
	f.Importers, f.PanelMounts = found.importers(), found.panelMounts()
	f.LockedDisk = hasLockedDisk(reader, o.host.Paths)
	devices := newDeviceFinder(reader, o.host.Paths, f.LockedDisk)
	for _, s := range o.here(f) {
		if !isDirectory(s.Type) || s.Path() == "" {
			continue
		}
		found.add(f.Sources, s)
		point, source, ok := f.sourceOf(s)
		if ok {
			f.Devices[source.What] = devices.source(source.What)
			if source.InFstab && source.FstabWhat != source.What {
				f.Devices[source.FstabWhat] = devices.source(source.FstabWhat)
			}
			if f.Devices[source.What] == DevicePresent && devices.removable(source.What) {
				f.Removable[s.ID] = true
			}
		}
		if m, ok := mountedAt(f.Mounts, point); ok && devicePath(o.host.Dev, m.Source) != "" {
			if _, known := f.Devices[m.Source]; !known {
				f.Devices[m.Source] = devices.find(m.Source)
			}
		}
		o.readDirectories(f, reader, s.Path(), point)
	}
	f.Stray = slices.DeleteFunc(found.stray(f.Config, o.node, f.PanelMounts), func(s Source) bool {
		// A mount that no boot waits for does no harm.
		if _, mounted := mountedAt(f.Mounts, s.Point); mounted || f.MountsErr != nil || s.hasOption("nofail", "noauto") {
			return true
		}
		f.Devices[s.What] = devices.source(s.What)
		if f.Devices[s.What] != DeviceGone {
			return true
		}
		f.Directories[s.Point] = readDirectory(reader, s.Point)
		return false
	})
}

// How long the answers of LVM and ZFS count while nothing is seen to change.
const (
	lvmAge = time.Minute
	zfsAge = time.Minute
)

// readDirectories looks at a storage's directory and its mount point, unless they are on a network file system. What is
// mounted is not opened: that would keep it from being unmounted meanwhile, and a disk that dies may hang.
func (o *Observer) readDirectories(f *Facts, reader *host.Reader, dir, point string) {
	_, mounted := mountedAt(f.Mounts, point)
	for _, d := range []string{dir, point} {
		_, known := f.Directories[d]
		m, ok := mountOf(f.Mounts, d)
		switch {
		case known || f.MountsErr != nil || ok && isNetworkFS(m.Type):
		case !mounted:
			f.Directories[d] = readDirectory(reader, d)
		case d != point:
			_, err := reader.Stat(d)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				f.Directories[d] = Directory{Exists: err == nil}
			} else {
				f.Directories[d] = Directory{Err: err}
			}
		}
	}
}
