package network

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"labd/internal/host"
	"labd/internal/lxc"
	"labd/internal/netfilter"
	"labd/internal/network/container"
	"labd/internal/route"
)

// cleanupTimeout bounds the search in one container.
const cleanupTimeout = 20 * time.Second

// Cleanup takes away everything with labd's mark: routes in every table, chains and tables on the host and in every
// running container. It finds them in the kernel and needs no state. It goes on after an error and returns all of them.
func (c *Controller) Cleanup(ctx context.Context) error {
	if err := c.mayAct(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.touched()
	// Routes first: nothing is sent to a container whose door is being closed.
	errs := []error{route.RemoveMarked()}
	errs = append(errs, c.eachNamespace(ctx, func(ctx context.Context, space netfilter.Namespace) error { return space.Remove(ctx) }))
	// Who had which prefix is remembered: once labd is on again, each network has its alias again, to which names lead.
	return errors.Join(errs...)
}

// mayAct keeps a labd that looks at moved trees from changing the machine that it runs on: the kernel's routes cannot be
// moved.
func (c *Controller) mayAct() error {
	if c.host.ExecPATH() == "" {
		return fmt.Errorf("change routes and rules: %w", host.ErrNoPrograms)
	}
	return nil
}

// Off stores the off switch and cleans up, without a plan: for the removal of the package.
func (c *Controller) Off(ctx context.Context) error {
	return errors.Join(c.state.SetSwitch(SwitchOff), c.Cleanup(ctx))
}

func (c *Controller) verifyCleanup(ctx context.Context) error {
	n, err := route.CountMarked()
	if err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%d routes or rules for routing are still there", n)
	}
	return c.eachNamespace(ctx, func(ctx context.Context, space netfilter.Namespace) error {
		found, err := space.HasMark(ctx)
		if found {
			err = errors.Join(err, errors.New("something of labd's is still there"))
		}
		return err
	})
}

// maxAtOnce is in how many network namespaces programs of the host run at the same time.
const maxAtOnce = 16

// eachNamespace calls do for the host's network namespace and for that of every running container, many at once: one
// that hangs must not keep the others waiting.
func (c *Controller) eachNamespace(ctx context.Context, do func(context.Context, netfilter.Namespace) error) error {
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	ids, err := c.containers.Running(ctx)
	errs := make([]error, len(ids)+2)
	errs[0] = err
	var group errgroup.Group
	group.SetLimit(maxAtOnce)
	group.Go(func() error {
		if err := do(ctx, netfilter.Namespace{Host: c.host, Proc: filepath.Join(c.host.Procfs, "self/net")}); err != nil {
			errs[1] = fmt.Errorf("on the host: %w", err)
		}
		return nil
	})
	for i, id := range ids {
		group.Go(func() error {
			ct, err := c.containers.Open(ctx, id)
			if errors.Is(err, lxc.ErrNotRunning) {
				return nil // its namespace is gone, and everything in it
			}
			if err == nil {
				err = errors.Join(do(ctx, container.Namespace(c.host, ct)), ct.Close())
			}
			if err != nil {
				errs[i+2] = fmt.Errorf("in container %d: %w", id, err)
			}
			return nil
		})
	}
	return errors.Join(append(errs, group.Wait())...)
}
