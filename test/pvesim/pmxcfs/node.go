package pmxcfs

import (
	"context"
	"fmt"
	"path"
	"strings"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a directory, a file, a link of the file system's own, or a file that
// it makes up when it is read.
type node struct {
	gofs.Inode
	fs       *FS
	dir      bool
	link     string
	generate func() string
	data     []byte
	mtime    time.Time
	opens    int
	hidden   string // name of a removed file that is still open
}

var (
	_ = gofs.NodeGetattrer((*node)(nil))
	_ = gofs.NodeSetattrer((*node)(nil))
	_ = gofs.NodeReadlinker((*node)(nil))
	_ = gofs.NodeMkdirer((*node)(nil))
	_ = gofs.NodeCreater((*node)(nil))
	_ = gofs.NodeUnlinker((*node)(nil))
	_ = gofs.NodeRmdirer((*node)(nil))
	_ = gofs.NodeRenamer((*node)(nil))
	_ = gofs.NodeLinker((*node)(nil))
	_ = gofs.NodeSymlinker((*node)(nil))
	_ = gofs.NodeMknoder((*node)(nil))
)

// kind is the file type's bits.
func (n *node) kind() uint32 {
	switch {
	case n.dir:
		return syscall.S_IFDIR
	case n.link != "":
		return syscall.S_IFLNK
	}
	return syscall.S_IFREG
}

// where is the path below the mount point.
func (n *node) where() string { return n.Path(&n.fs.root.Inode) }

// private tells the trees that root alone may read.
func private(name string) bool {
	if name == "priv" || strings.HasPrefix(name, "priv/") {
		return true
	}
	parts := strings.SplitN(name, "/", 4)
	return len(parts) > 2 && parts[0] == "nodes" && parts[2] == "priv"
}

// mode is what a file has, whatever was asked for.
func (n *node) mode() uint32 {
	secret := private(n.where())
	switch {
	case n.link != "" && n.fs.quorate:
		return 0o777
	case n.link != "":
		return 0o555
	case n.generate != nil:
		return 0o440
	case n.dir && secret:
		return 0o700
	case n.dir:
		return 0o755
	case secret:
		return 0o600
	}
	return 0o640
}

func (n *node) fill(a *fuse.Attr) {
	a.Mode = n.kind() | n.mode()
	a.Gid = wwwData
	a.Nlink = 1
	a.Size = uint64(len(n.data))
	a.SetTimes(&n.mtime, &n.mtime, &n.mtime)
}

// lockDir reports whether the node is a lock.
func (n *node) lockDir() bool { return n.dir && path.Dir(n.where()) == "priv/lock" }

// changed notes a change of a file, for .version.
func (n *node) changed(name string) {
	if !strings.HasPrefix(name, "priv/lock/") {
		n.fs.versions[name]++
	}
}

func (n *node) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	n.fill(&out.Attr)
	return 0
}

func (n *node) Setattr(_ context.Context, _ gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if mode, ok := in.GetMode(); ok && mode&0o7777 != n.mode() {
		return syscall.EPERM
	}
	if uid, ok := in.GetUID(); ok && uid != 0 {
		return syscall.EPERM
	}
	if gid, ok := in.GetGID(); ok && gid != wwwData {
		return syscall.EPERM
	}
	if size, ok := in.GetSize(); ok {
		if errno := n.resize(size); errno != 0 {
			return errno
		}
	}
	if mtime, ok := in.GetMTime(); ok {
		if errno := n.touch(mtime); errno != 0 {
			return errno
		}
	}
	n.fill(&out.Attr)
	return 0
}

func (n *node) resize(size uint64) syscall.Errno {
	switch {
	case n.generate != nil:
		return syscall.EIO
	case !n.fs.quorate:
		return syscall.EACCES
	case size > maxFile:
		return syscall.EFBIG
	}
	data := make([]byte, size)
	copy(data, n.data)
	n.data, n.mtime = data, n.fs.options.Now()
	n.changed(n.where())
	return 0
}

// touch is utime(2). On a lock the time 0 asks that it be given up, which is
// refused while it is young; any other time renews it.
func (n *node) touch(mtime time.Time) syscall.Errno {
	if !n.fs.quorate {
		return syscall.EACCES
	}
	if n.lockDir() && mtime.Unix() == 0 {
		if n.fs.options.Now().Sub(n.mtime) <= lockExpiry {
			return syscall.EACCES
		}
		name, parent := n.Parent()
		parent.RmChild(name)
		return syscall.ENOENT
	}
	n.mtime = mtime
	if n.lockDir() {
		n.mtime = n.fs.options.Now()
	}
	return 0
}

func (n *node) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(n.link), 0 }

func (n *node) Symlink(context.Context, string, string, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, syscall.ENOSYS
}

func (n *node) Mknod(context.Context, string, uint32, uint32, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, syscall.ENOSYS
}

func (n *node) Link(context.Context, gofs.InodeEmbedder, string, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, syscall.EPERM
}

// newChild makes a node below a directory.
func (n *node) newChild(ctx context.Context, name string, c *node, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	if !n.fs.quorate {
		return nil, syscall.EACCES
	}
	at := path.Join(n.where(), name)
	if n.fs.clash(at) {
		return nil, syscall.EEXIST
	}
	c.fs, c.mtime = n.fs, n.fs.options.Now()
	inode := n.NewPersistentInode(ctx, c, gofs.StableAttr{Mode: c.kind()})
	// The path decides about the mode, so the child must be in its place.
	n.AddChild(name, inode, true)
	c.fill(&out.Attr)
	n.changed(at)
	return inode, 0
}

func (n *node) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.newChild(ctx, name, &node{dir: true}, out)
}

func (n *node) Create(ctx context.Context, name string, _ uint32, _ uint32, out *fuse.EntryOut) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	c := &node{data: []byte{}}
	inode, errno := n.newChild(ctx, name, c, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return inode, c.open(), fuse.FOPEN_DIRECT_IO, 0
}

// child is a child by its name.
func (n *node) child(name string) (*node, bool) {
	inode := n.GetChild(name)
	if inode == nil {
		return nil, false
	}
	c, ok := inode.Operations().(*node)
	return c, ok
}

// removable says why a name cannot be taken away or replaced.
func (n *node) removable(name string) syscall.Errno {
	c, ok := n.child(name)
	switch {
	case !n.fs.quorate:
		return syscall.EACCES
	case !ok:
		return syscall.ENOENT
	case c.link != "" || c.generate != nil:
		return syscall.EACCES
	}
	return 0
}

// hide keeps a file that is still open under another name, until it is closed:
// libfuse does so for file systems without handles of their own.
func (n *node) hide(c *node) {
	if c.opens == 0 {
		return
	}
	n.fs.hidden++
	c.hidden = fmt.Sprintf(".fuse_hidden%016x", n.fs.hidden)
	n.AddChild(c.hidden, c.EmbeddedInode(), true)
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if errno := n.removable(name); errno != 0 {
		return errno
	}
	c, _ := n.child(name)
	n.hide(c)
	n.changed(path.Join(n.where(), name))
	return 0
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if errno := n.removable(name); errno != 0 {
		return errno
	}
	if c, _ := n.child(name); len(c.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	return 0
}

func (n *node) Rename(_ context.Context, name string, newParent gofs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	to, ok := newParent.(*node)
	if !ok || flags != 0 {
		return syscall.EINVAL
	}
	if errno := n.removable(name); errno != 0 {
		return errno
	}
	c, _ := n.child(name)
	if c.lockDir() {
		return syscall.EACCES
	}
	if target, exists := to.child(newName); exists {
		switch {
		case to.removable(newName) != 0:
			return to.removable(newName)
		case target.dir && !c.dir:
			return syscall.EISDIR
		case !target.dir && c.dir:
			return syscall.ENOTDIR
		case target.dir && len(target.Children()) > 0:
			return syscall.ENOTEMPTY
		}
		to.hide(target)
	} else if n.fs.clash(path.Join(to.where(), newName)) && path.Base(name) != newName {
		return syscall.EEXIST
	}
	n.changed(path.Join(to.where(), newName))
	return 0
}
