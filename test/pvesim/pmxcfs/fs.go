// Package pmxcfs is a file system with the rules of PVE's cluster file system,
// mounted through FUSE: fixed modes and owner, no links, files of 1 MiB at the
// most, locks that expire, and no writing without quorum. It keeps everything in
// memory and knows one node only.
//
// The rules are those observed on pve-cluster 9.1.6.
package pmxcfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	maxFile = 1 << 20
	// lockExpiry is the age from which on a lock is given up at somebody's request.
	lockExpiry = 120 * time.Second
	// wwwData is the group of all files, on Debian.
	wwwData = 33
)

// Options describe the node.
type Options struct {
	Node string
	// Now is the clock by which locks age; default time.Now.
	Now func() time.Time
	// In runs f on a thread in the mount namespace that the file system is mounted
	// in; default the caller's own.
	In func(f func() error) error
	// Cache is how long the kernel may keep names and attributes; PVE: one second.
	Cache time.Duration
}

// FS is a mounted cluster file system.
type FS struct {
	dir     string
	options Options

	mu       sync.Mutex
	server   *fuse.Server
	fd       int
	root     *node
	members  string // content of .members
	quorate  bool
	versions map[string]int
	hidden   int // counts names of removed files that are still open
	// content is what the tree held when it was unmounted, by path; nil stands for a directory.
	content map[string][]byte
}

// Mount mounts an empty cluster file system of a single node on dir. It needs
// root and /dev/fuse.
func Mount(dir string, o Options) (*FS, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.In == nil {
		o.In = func(f func() error) error { return f() }
	}
	f := &FS{dir: dir, options: o, quorate: true, versions: map[string]int{}, content: map[string][]byte{}}
	f.members = fmt.Sprintf("{\n\"nodename\": %q,\n\"version\": 0\n}\n", o.Node)
	for _, d := range []string{
		"nodes", "nodes/" + o.Node, "nodes/" + o.Node + "/qemu-server", "nodes/" + o.Node + "/lxc", "nodes/" + o.Node + "/priv",
		"priv", "priv/lock",
	} {
		f.content[d] = nil
	}
	return f, f.Start()
}

// Start mounts it again after Stop, with what it held.
func (f *FS) Start() error {
	return f.options.In(func() error {
		if err := f.start(); err != nil {
			return err
		}
		return f.declinePolls()
	})
}

func (f *FS) start() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server != nil {
		return nil
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("pmxcfs: open /dev/fuse: %w", err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0,default_permissions,allow_other", fd)
	if err := unix.Mount("/dev/fuse", f.dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return errors.Join(fmt.Errorf("pmxcfs: mount %s: %w", f.dir, err), unix.Close(fd))
	}
	f.root = &node{fs: f, dir: true, mtime: f.options.Now()}
	fsOptions := &gofs.Options{
		EntryTimeout: &f.options.Cache, AttrTimeout: &f.options.Cache,
		MountOptions: fuse.MountOptions{DisableXAttrs: true},
	}
	raw := gofs.NewNodeFS(f.root, fsOptions)
	f.build()
	server, err := fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", fd), &fsOptions.MountOptions)
	if err != nil {
		return errors.Join(fmt.Errorf("pmxcfs: serve: %w", err), unix.Unmount(f.dir, unix.MNT_DETACH), unix.Close(fd))
	}
	f.server, f.fd = server, fd
	go server.Serve()
	return nil
}

// declinePolls has the kernel ask once whether files can be polled, by a call
// that Go's scheduler knows to block, so that it hears "no" for good. Else Go
// asks for each file that this very process opens, in a call that it takes for
// a short one, and nothing runs that could answer (go-fuse does the same where
// it mounts itself).
func (f *FS) declinePolls() error {
	fd, err := unix.Open(filepath.Join(f.dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("pmxcfs: %w", err)
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return errors.Join(err, unix.Close(fd))
}

// build fills the fresh tree.
func (f *FS) build() {
	for _, name := range slices.Sorted(maps.Keys(f.content)) {
		data := f.content[name]
		f.add(name, &node{fs: f, dir: data == nil, data: data, mtime: f.options.Now()})
	}
	own := "nodes/" + f.options.Node
	f.add("local", &node{fs: f, link: own})
	f.add("qemu-server", &node{fs: f, link: own + "/qemu-server"})
	f.add("lxc", &node{fs: f, link: own + "/lxc"})
	f.add(".members", &node{fs: f, generate: func() string { return f.members }})
	f.add(".version", &node{fs: f, generate: f.versionText})
	f.add(".vmlist", &node{fs: f, generate: f.guestList})
}

// add puts a node into the tree; its directory is there already.
func (f *FS) add(name string, n *node) {
	parent := &f.root.Inode
	if dir := path.Dir(name); dir != "." {
		for part := range strings.SplitSeq(dir, "/") {
			parent = parent.GetChild(part)
		}
	}
	parent.AddChild(path.Base(name), parent.NewPersistentInode(context.Background(), n, gofs.StableAttr{Mode: n.kind()}), true)
}

// Stop unmounts it, as when pmxcfs ends: what is left is the empty directory
// below.
func (f *FS) Stop() error {
	f.mu.Lock()
	server := f.server
	f.server = nil
	f.mu.Unlock()
	if server == nil {
		return nil
	}
	err := f.options.In(func() error { return unix.Unmount(f.dir, unix.MNT_DETACH) })
	// Nobody can come in any more; who still holds a file keeps the connection.
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content = map[string][]byte{}
	f.save("", f.root)
	if err != nil {
		return fmt.Errorf("pmxcfs: unmount %s: %w", f.dir, err)
	}
	return nil
}

// save notes what is below a directory.
func (f *FS) save(dir string, n *node) {
	for name, child := range n.Children() {
		c := child.Operations().(*node)
		at := path.Join(dir, name)
		switch {
		case c.link != "" || c.generate != nil:
		case c.dir:
			f.content[at] = nil
			f.save(at, c)
		default:
			f.content[at] = append([]byte{}, c.data...)
		}
	}
}

// SetQuorum makes the node one of two, of which the other is offline, and gives
// or takes the quorum. Without it everything can be read and nothing written.
func (f *FS) SetQuorum(quorate bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := 0
	if quorate {
		q = 1
	}
	f.quorate = quorate
	f.members = fmt.Sprintf("{\n\"nodename\": %q,\n\"version\": 2,\n\"cluster\": { \"name\": \"lab\", \"version\": 2, \"nodes\": 2, \"quorate\": %d },\n"+
		"\"nodelist\": {\n  %q: { \"id\": 1, \"online\": 1, \"ip\": \"127.0.0.1\"}\n  }\n}\n", f.options.Node, q, f.options.Node)
}

// versionText is .version: a number per file that grows with each change.
func (f *FS) versionText() string {
	var b strings.Builder
	b.WriteString("{\n\"starttime\": 1,\n\"clinfo\": 1,\n\"vmlist\": 1")
	for _, name := range slices.Sorted(maps.Keys(f.versions)) {
		fmt.Fprintf(&b, ",\n%q: %d", name, f.versions[name])
	}
	b.WriteString("\n}\n")
	return b.String()
}

// guestList is .vmlist.
func (f *FS) guestList() string {
	var rows []string
	for node, n := range f.root.GetChild("nodes").Children() {
		for dir, kind := range map[string]string{"qemu-server": "qemu", "lxc": "lxc"} {
			guests := n.GetChild(dir)
			if guests == nil {
				continue
			}
			for name := range guests.Children() {
				if id, ok := strings.CutSuffix(name, ".conf"); ok {
					rows = append(rows, fmt.Sprintf("%q: { \"node\": %q, \"type\": %q, \"version\": 1 }", id, node, kind))
				}
			}
		}
	}
	slices.Sort(rows)
	return "{\n\"version\": 1,\n\"ids\": {\n" + strings.Join(rows, ",\n") + "}\n}\n"
}

// guestFile tells the ID of a guest's configuration file; clash finds the other
// file of the same ID.
func (f *FS) clash(name string) bool {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0] != "nodes" || parts[2] != "qemu-server" && parts[2] != "lxc" || !strings.HasSuffix(parts[3], ".conf") {
		return false
	}
	for node, n := range f.root.GetChild("nodes").Children() {
		for _, dir := range []string{"qemu-server", "lxc"} {
			if guests := n.GetChild(dir); guests != nil && guests.GetChild(parts[3]) != nil && (node != parts[1] || dir != parts[2]) {
				return true
			}
		}
	}
	return false
}
