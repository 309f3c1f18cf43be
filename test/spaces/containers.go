package spaces

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"labd/internal/docker"
	"labd/internal/lxc"
	"labd/internal/netfilter"
	"labd/internal/network/container"
)

// Containers are processes that hold namespaces, in place of LXC's containers.
type Containers struct {
	// PIDs are the processes by the containers' numbers.
	PIDs map[int]int
	// Docker answers for the Docker in a container.
	Docker func(ctx context.Context, id int) (*docker.Info, error)
	// Gone are containers that do not exist any more.
	Gone map[int]bool
}

// Running returns the ids, sorted.
func (c *Containers) Running(context.Context) ([]int, error) {
	var ids []int
	for id := range c.PIDs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// Exists reports whether a container is there.
func (c *Containers) Exists(id int) bool { return !c.Gone[id] }

// Open takes hold of a container.
func (c *Containers) Open(_ context.Context, id int) (container.Handle, error) {
	pid, ok := c.PIDs[id]
	if !ok {
		return nil, lxc.ErrNotRunning
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	return &handle{all: c, id: id, pid: pid, file: file}, nil
}

type handle struct {
	all     *Containers
	id, pid int
	file    *os.File
}

func (h *handle) NetNS() *os.File             { return h.file }
func (h *handle) NetNSID() string             { return strconv.Itoa(h.pid) }
func (h *handle) ProcFile(name string) string { return fmt.Sprintf("/proc/%d/%s", h.pid, name) }
func (h *handle) Close() error                { return h.file.Close() }
func (h *handle) Rules() *netfilter.Cache     { return nil }
func (h *handle) Alive() bool                 { return h.all.PIDs[h.id] == h.pid }

func (h *handle) Netlink() (*netlink.Handle, error) {
	return netlink.NewHandleAt(netns.NsHandle(h.file.Fd()), unix.NETLINK_ROUTE)
}

func (h *handle) Wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func (h *handle) DockerEvents(context.Context, time.Duration, func()) error {
	return container.ErrNoSocket
}

func (h *handle) Docker(ctx context.Context) (*docker.Info, error) { return h.all.Docker(ctx, h.id) }
