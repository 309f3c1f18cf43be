// Command labd is the operations daemon of a Proxmox VE host.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"labd/internal/daemon"
)

// version is set by the build.
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := daemon.Main(ctx, version, os.Args[1:], daemon.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
