package pmxcfs

import (
	"context"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// handle is an open file.
type handle struct {
	n *node
	// text is what a made-up file held when it was opened.
	text []byte
}

var (
	_ = gofs.NodeOpener((*node)(nil))
	_ = gofs.FileReader((*handle)(nil))
	_ = gofs.FileWriter((*handle)(nil))
	_ = gofs.FileReleaser((*handle)(nil))
	_ = gofs.FileFlusher((*handle)(nil))
	_ = gofs.FileFsyncer((*handle)(nil))
	_ = gofs.NodeFsyncer((*node)(nil))
	_ = gofs.NodeStatfser((*node)(nil))
)

// open is called with the lock held.
func (n *node) open() *handle {
	n.opens++
	h := &handle{n: n}
	if n.generate != nil {
		h.text = []byte(n.generate())
	}
	return h
}

// Open succeeds also for writing and without quorum; the write then fails.
// Direct I/O forbids writable shared mappings.
func (n *node) Open(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.open(), fuse.FOPEN_DIRECT_IO, 0
}

func (h *handle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	h.n.fs.mu.Lock()
	defer h.n.fs.mu.Unlock()
	data := h.n.data
	if h.n.generate != nil {
		data = h.text
	}
	if off >= int64(len(data)) {
		return fuse.ReadResultData(nil), 0
	}
	n := copy(dest, data[off:])
	return fuse.ReadResultData(dest[:n]), 0
}

func (h *handle) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n := h.n
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	end := off + int64(len(data))
	switch {
	case n.generate != nil:
		return 0, syscall.EIO
	case !n.fs.quorate:
		return 0, syscall.EACCES
	case end > maxFile:
		return 0, syscall.EFBIG
	}
	if end > int64(len(n.data)) {
		grown := make([]byte, end)
		copy(grown, n.data)
		n.data = grown
	}
	copy(n.data[off:], data)
	n.mtime = n.fs.options.Now()
	n.changed(n.where())
	return uint32(len(data)), 0
}

// Flush is not there, and once told so the kernel does not ask again. A process that serves the file system and dies with a
// file of it open would otherwise wait for itself, for good.
func (h *handle) Flush(context.Context) syscall.Errno { return syscall.ENOSYS }

func (h *handle) Fsync(context.Context, uint32) syscall.Errno { return 0 }

func (n *node) Fsync(context.Context, gofs.FileHandle, uint32) syscall.Errno { return 0 }

// Release takes a removed file away when nobody has it open any more.
func (h *handle) Release(context.Context) syscall.Errno {
	n := h.n
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	n.opens--
	if n.opens == 0 && n.hidden != "" {
		if _, parent := n.Parent(); parent != nil {
			parent.RmChild(n.hidden)
		}
	}
	return 0
}

// Statfs has the sizes of PVE's: 128 MiB, 256k files.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.Blocks, out.Bfree, out.Bavail = 4096, 4096, 32768, 32760, 32760
	out.Files, out.Ffree, out.NameLen = 256<<10, 256<<10-32, 256
	return 0
}
