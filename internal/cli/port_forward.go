package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

// forward is one local port that leads to one of a container's; local 0 takes any that is free.
type forward struct{ local, remote uint16 }

func (a *app) portForwardCommand() *cobra.Command {
	addresses := []string{"127.0.0.1"}
	cmd := &cobra.Command{
		Use:   "port-forward TARGET [LOCAL:]REMOTE…",
		Short: "Reach TCP ports of a Docker container through a port of this machine",
		Long: targetHelp + `

Ports that listen on the container's loopback alone are reached too. Without LOCAL the same number is taken, with an empty
one or 0 a free one. A connection that fails ends by itself; the others go on until Ctrl-C.`,
		Example: "  labctl port-forward 101/web 8080:80\n  labctl port-forward 101/db 5432",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return &Error{apiv1.ErrorUsage, "labctl port-forward takes a TARGET and one or more ports", "labctl port-forward 101/web 8080:80"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			var forwards []forward
			for _, arg := range args[1:] {
				f, err := parseForward(arg)
				if err != nil {
					return err
				}
				forwards = append(forwards, f)
			}
			return a.with(cmd.Context(), func(c *client) error { return a.portForward(cmd.Context(), c, to, forwards, addresses) })
		},
	}
	cmd.Flags().StringSliceVar(&addresses, "address", addresses, "where to listen on this machine")
	return cmd
}

// parseForward reads [LOCAL:]REMOTE.
func parseForward(text string) (forward, error) {
	local, remote, both := strings.Cut(text, ":")
	if !both {
		local, remote = text, text
	}
	to, err := strconv.ParseUint(remote, 10, 16)
	if err != nil || to == 0 {
		return forward{}, usageError("%q is no port: write [LOCAL:]REMOTE, such as 8080:80", text)
	}
	if local == "" {
		local = "0"
	}
	from, err := strconv.ParseUint(local, 10, 16)
	if err != nil {
		return forward{}, usageError("%q is no port: write [LOCAL:]REMOTE, such as 8080:80", text)
	}
	return forward{uint16(from), uint16(to)}, nil
}

// portForward listens until ctx ends.
func (a *app) portForward(ctx context.Context, c *client, to target, forwards []forward, addresses []string) error {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	var wg sync.WaitGroup
	for _, f := range forwards {
		for _, address := range addresses {
			var config net.ListenConfig
			l, err := config.Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(int(f.local))))
			if err != nil {
				return fmt.Errorf("listen for port %d of %s: %w", f.remote, to, err)
			}
			listeners = append(listeners, l)
			a.printf("Forwarding from %s -> %d\n", l.Addr(), f.remote)
			wg.Go(func() { a.accept(ctx, c, to, l, f.remote) })
		}
	}
	<-ctx.Done()
	for _, l := range listeners {
		_ = l.Close()
	}
	wg.Wait()
	return nil
}

// accept serves the connections of one listener until it is closed.
func (a *app) accept(ctx context.Context, c *client, to target, l net.Listener, port uint16) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				fmt.Fprintf(a.stderr, "labctl: port %d: %s\n", port, escape(err.Error()))
			}
			return
		}
		wg.Go(func() {
			defer conn.Close()
			// What fails of one connection is this one's.
			if err := forwardOne(ctx, c, to, conn, port); err != nil && ctx.Err() == nil {
				fmt.Fprintf(a.stderr, "labctl: a connection to port %d: %s\n", port, escape(err.Error()))
			}
		})
	}
}

func forwardOne(ctx context.Context, c *client, to target, conn net.Conn, port uint16) error {
	stream, err := c.upgrade(ctx, to.path("connect")+"?port="+strconv.Itoa(int(port)), apiv1.ProtocolTCP)
	if err != nil {
		return err
	}
	defer stream.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close(); _ = stream.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(stream, conn)
		_ = stream.CloseWrite()
	})
	_, err = io.Copy(conn, stream)
	if half, ok := conn.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	if err != nil {
		_ = conn.Close()
	}
	wg.Wait()
	return nil
}
