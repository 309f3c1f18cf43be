package daemon

import (
	"context"
	"fmt"
	"io"
	"time"

	"labd/internal/config"
	"labd/internal/host"
	"labd/internal/network"
	"labd/internal/network/container"
)

// sweepTimeout bounds labd --sweep: the removal of a package must not hang.
const sweepTimeout = 30 * time.Second

// sweep takes away every mark of labd's on the host and in its containers, for the removal of the package. It needs no
// running labd, and stores the off switch, so that a labd that is installed again does not open anything by itself.
func sweep(ctx context.Context, cfg config.Config, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	h := host.New(cfg.Paths, cfg.Kernel.Release)
	control := network.NewController(h, network.NewState(cfg.Paths.State), container.LXC(h))
	if err := control.Off(ctx); err != nil {
		fmt.Fprintf(stderr, "labd: take away routes and rules: %v\n", err)
		return exitError
	}
	return exitOK
}
