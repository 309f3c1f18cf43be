// Command demo shows labd's three jobs on a lab of real parts: what is wrong, what labd says and does, and what is right
// afterwards. make demo builds and runs it. It needs root; DEMO_EXIT=1 ends it at once instead of waiting for Ctrl-C.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	info, err := os.Stdout.Stat()
	d := &demo{out: os.Stdout, colour: err == nil && info.Mode()&os.ModeCharDevice != 0, bin: "bin", unit: "systemd/labd.service"}
	err = d.run(ctx)
	if err == nil && os.Getenv("DEMO_EXIT") == "" {
		d.say("\nThe lab stays up until Ctrl-C. Page: http://%s/  Metrics: http://%s/metrics", d.metrics, d.metrics)
		d.say("A shell on its host: %s", d.shell())
		<-ctx.Done()
	}
	interrupted := ctx.Err() != nil
	stop()
	closeErr := d.close()
	if closeErr == nil && interrupted {
		d.say("\nThe lab is gone; nothing of it is left but Debian's packages and bin/.")
	}
	if err == nil {
		err = closeErr
	}
	if err != nil && !interrupted {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
