package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"labd/internal/host"
	"labd/internal/pve"
)

// Inputs are what an Observer is built from.
type Inputs struct {
	Host *host.Host
	// Node is this node's name in PVE.
	Node   string
	Memory *Memory
	Now    func() time.Time
	// Probe says that servers of network storages may be connected to.
	Probe bool
	// Major returns the major version of the running PVE, 0 where it is not known. Nil is never known.
	Major func() int
	// Access returns a *pve.AccessError where PVE surely lets labd change no storage. Nil is never known.
	Access func(ctx context.Context) error
}

// major returns the running PVE's major version, 0 where it is not known.
func (in Inputs) major() int {
	if in.Major == nil {
		return 0
	}
	return in.Major()
}

// Observer looks at the storages of this node.
type Observer struct {
	Inputs
	host *host.Host

	cluster    asyncCache[clusterAnswer]
	references asyncCache[referencesAnswer]
	lvm        asyncCache[LVM]
	blocks     asyncCache[Blocks]
	allLVM     asyncCache[LVM]
	zfs        asyncCache[ZFS]
	servers    asyncCache[map[string]Server]
}

// NewObserver returns an Observer of in.
func NewObserver(in Inputs) *Observer { return &Observer{Inputs: in, host: in.Host} }

// pmxcfsTimeout bounds a reading of /etc/pve, where a file system in user space answers.
const pmxcfsTimeout = 10 * time.Second

var (
	errNoConfig = errors.New("storage.cfg is missing or empty")
	errPMXCFS   = errors.New("the cluster file system at /etc/pve does not answer")
	errSlow     = errors.New("it does not answer in time; labd goes on waiting")
)

// Observe reads storage.cfg, the cluster's files, the mount table, unit files and device links, and asks LVM, ZFS and
// the servers of network storages. It makes no call to PVE, since PVE's own status call activates storages, and it
// touches no path of a network file system. What does not answer in time is not known in these facts.
func (o *Observer) Observe(ctx context.Context) (*Facts, error) {
	reader := o.host.NewReader(0)
	defer reader.Close()
	f := o.observe(ctx, reader, slowDeadline, func(*pve.StorageSection) bool { return true })
	if o.Access != nil && f.Config != nil {
		f.AccessErr = o.Access(ctx)
	}
	if f.Config == nil {
		return f, nil
	}
	if entries := slices.DeleteFunc(judgeAll(f), func(e Entry) bool { return !needsReferences(e) }); len(entries) > 0 {
		o.readReferences(ctx, f, reader, entries)
	}
	return f, nil
}

// Again looks at one entry anew, with nothing of what was learned before, and judges it as a report does. ok is false where
// the entry is not there, or not this node's.
func (o *Observer) Again(ctx context.Context, id string) (e Entry, ok bool) {
	fresh := NewObserver(o.Inputs)
	fresh.Probe = false
	reader := o.host.NewReader(0)
	defer reader.Close()
	f := fresh.observe(ctx, reader, againDeadline, func(s *pve.StorageSection) bool { return s.ID == id })
	if f.Config == nil {
		return Entry{}, false
	}
	if s := f.Config.Section(id); s != nil {
		return judge(f, s)
	}
	return Entry{}, false
}

// source looks at one device and mount point anew, right before a step.
func (o *Observer) source(ctx context.Context, p unitParams) *Facts {
	reader := o.host.NewReader(0)
	defer reader.Close()
	f := &Facts{At: o.Now(), Node: o.Node, Devices: map[string]Device{}}
	f.Mounts, f.MountsErr = o.host.Mounts(ctx)
	devices := newDeviceFinder(reader, o.host.Paths)
	f.Links = map[string][]string{"by-id": devices.links("by-id"), "by-path": devices.links("by-path")}
	f.Devices[p.What] = devices.find(p.What)
	if m, ok := mountedAt(f.Mounts, p.Point); ok {
		f.Devices[m.Source] = devices.find(m.Source)
	}
	if f.Devices[p.What] == DeviceGone {
		o.readBlocks(ctx, f, reader, againDeadline)
	}
	return f
}

// observe reads what the wanted entries need.
func (o *Observer) observe(ctx context.Context, reader *host.Reader, wait time.Duration, wanted func(*pve.StorageSection) bool) *Facts {
	f := &Facts{
		At: o.Now(), Node: o.Node, Sources: map[string]Source{}, Devices: map[string]Device{}, Directories: map[string]Directory{},
		References: map[string][]pve.Reference{}, Elsewhere: map[string][]string{}, Removable: map[string]bool{},
	}
	f.FstabFile, f.VzdumpFile = filepath.Join(o.host.Etc, "fstab"), filepath.Join(o.host.Etc, "vzdump.conf")
	f.Config, f.ConfigErr = o.readConfig(f, reader)
	o.readCluster(ctx, f)
	f.Mounts, f.MountsErr = o.host.Mounts(ctx)
	f.Seen = o.Memory.Seen()
	f.Uptime, f.UptimeKnown = o.host.Uptime()
	f.Boot = o.host.BootID()
	if f.Config == nil {
		return f
	}
	q := &questions{}
	for _, s := range f.Config.Sections {
		if s.Malformed == "" && (s.OnNode(o.Node) || !onMember(f, s)) && wanted(s) {
			q.add(s)
		}
	}
	o.askSlow(ctx, f, reader, q, wait)
	o.readLocal(f, reader, q)
	if len(f.Stray) > 0 || slices.ContainsFunc(judgeAll(f), wantsBlocks) {
		o.readBlocks(ctx, f, reader, wait)
	}
	return f
}

// wantsBlocks reports whether the block devices decide about an entry: something of it is missing.
func wantsBlocks(e Entry) bool {
	if e.proof.state == DeviceUnknown && e.proof.reason != "" {
		return true
	}
	switch e.Verdict {
	case VerdictGone, VerdictUnknown, VerdictMasked, VerdictOrphanNode, VerdictDisabled:
		return e.Type == TypeUnit || e.section != nil && !kindOf(e.Type).remote()
	}
	return false
}

// blocksAge is how long what was read of block devices counts while none is seen to come or go.
const blocksAge = time.Minute

// readBlocks looks at the block devices, and asks LVM for all its groups where a device or a name is LVM's.
func (o *Observer) readBlocks(ctx context.Context, f *Facts, reader *host.Reader, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var ok bool
	key := blocksKey(reader, o.host.Paths)
	if f.Blocks, ok = o.blocks.get(ctx, key, blocksAge, func() Blocks { return readBlocks(context.Background(), o.host, o.Node) }); !ok {
		f.Blocks = Blocks{Asked: true, Err: errSlow}
		return
	}
	if f.Blocks.Err != nil {
		o.blocks.forget()
		return
	}
	if !f.LVM.Asked && !f.Blocks.has("LVM2_member") && !slices.ContainsFunc(slices.Collect(maps.Keys(f.Devices)), isVolumeName) {
		return
	}
	lvm, ok := o.allLVM.get(ctx, lvmKey(reader, o.host.Paths), lvmAge, func() LVM { return readLVM(context.Background(), o.host, nil, true).resolve(o.host) })
	switch {
	case !ok:
		lvm = LVM{Asked: true, Err: errSlow}
	case lvm.Err != nil:
		o.allLVM.forget()
	}
	f.Blocks.LVM = lvm
}

// questions are what the kinds of entries want to know.
type questions struct {
	sections []*pve.StorageSection
	// groups are volume groups, datasets pools or datasets of ZFS.
	groups, datasets []string
	// directories are the entries that are a directory on a local file system.
	directories []*pve.StorageSection
}

func (q *questions) add(s *pve.StorageSection) {
	q.sections = append(q.sections, s)
	kindOf(s.Type).observe(q, s)
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
	return pve.ParseStorageConfig(data, pve.StorageConfigOptions{Major: o.major()}), nil
}

type clusterAnswer struct {
	cluster pve.Cluster
	err     error
	// noDirectory says that the directory itself is not there.
	noDirectory bool
}

func (o *Observer) readCluster(ctx context.Context, f *Facts) {
	ctx, cancel := context.WithTimeout(ctx, pmxcfsTimeout)
	defer cancel()
	answer, ok := o.cluster.get(ctx, "", 0, func() clusterAnswer {
		cluster, err := pve.ReadCluster(pve.DirFS(o.host.PVE))
		_, missing := pve.DirFS(o.host.PVE).Lstat(".")
		return clusterAnswer{cluster, err, errors.Is(missing, fs.ErrNotExist)}
	})
	if !ok {
		answer.err = errPMXCFS
	}
	f.Cluster, f.ClusterErr = answer.cluster, answer.err
	f.NoPVE = answer.noDirectory && !pve.Installed(ctx, o.host)
	if f.Config != nil && f.ClusterErr == nil && !f.Cluster.Mounted && o.host.PVE != host.DefaultPaths().PVE {
		// A copy of /etc/pve elsewhere has its files and not the link that pmxcfs makes.
		f.Cluster.Mounted, f.Cluster.Quorate = true, true
	}
}

// askSlow asks LVM, ZFS and servers, all at once and for a bounded time.
func (o *Observer) askSlow(ctx context.Context, f *Facts, reader *host.Reader, q *questions, wait time.Duration) {
	groups, datasets, servers := q.groups, q.datasets, map[string][]string{}
	conf, err := reader.File(filepath.Join(o.host.PVE, "ceph.conf"))
	monitors := monitorsOf(conf)
	f.NoMonitors = len(monitors) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist))
	if o.Probe {
		for _, s := range q.sections {
			if !s.OnNode(o.Node) {
				continue
			}
			if at := kindOf(s.Type).endpoints(s, monitors); len(at) > 0 && !s.Disabled() {
				servers[s.ID] = at
			}
		}
	}
	lvmKey, zfsKey := lvmKey(reader, o.host.Paths)+strings.Join(groups, ","), zfsKey(reader, o.host.Paths)+strings.Join(datasets, ",")
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var wg sync.WaitGroup
	// What is learned outlives this observation, so it must not end with its context.
	if len(groups) > 0 {
		wg.Go(func() {
			var ok bool
			if f.LVM, ok = o.lvm.get(ctx, lvmKey, lvmAge, func() LVM { return readLVM(context.Background(), o.host, groups, false) }); !ok {
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
func (o *Observer) readLocal(f *Facts, reader *host.Reader, q *questions) {
	found := newSources(reader, o.host.Etc)
	f.Importers, f.PanelMounts = found.importers(), found.panelMounts()
	devices := newDeviceFinder(reader, o.host.Paths)
	f.Links = map[string][]string{"by-id": devices.links("by-id"), "by-path": devices.links("by-path")}
	for _, s := range q.directories {
		if s.Path() == "" {
			continue
		}
		found.add(f.Sources, s)
		point, source, ok := f.sourceOf(s)
		if ok {
			f.Devices[source.What] = devices.find(source.What)
			if source.InFstab && source.FstabWhat != source.What {
				f.Devices[source.FstabWhat] = devices.find(source.FstabWhat)
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
	f.Traces = o.readTraces(reader)
	points := maps.Clone(f.PanelMounts)
	maps.Copy(points, found.blockingMounts())
	f.Stray = slices.DeleteFunc(found.stray(f.Config, o.Node, points), func(s Source) bool {
		// A mount that no boot waits for does no harm.
		if _, mounted := mountedAt(f.Mounts, s.Point); mounted || f.MountsErr != nil || s.hasOption("nofail", "noauto") || s.Twice {
			return true
		}
		f.Devices[s.What] = devices.find(s.What)
		if f.Devices[s.What] != DeviceGone {
			return true
		}
		f.Directories[s.Point] = readDirectory(reader, s.Point)
		return false
	})
}

// readTraces finds the volume groups of which LVM keeps a copy of the metadata: vgremove takes that away, a disk that goes
// does not (vgcfgbackup(8)).
func (o *Observer) readTraces(reader *host.Reader) map[string]bool {
	names, _ := reader.Names(filepath.Join(o.host.Etc, "lvm/backup"))
	out := map[string]bool{}
	for _, name := range names {
		out[name] = true
	}
	return out
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
