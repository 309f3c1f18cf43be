package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// Relay makes a TCP address of the host reachable on the machine's loopback, until ctx ends, and returns the address
// there.
func (l *Lab) Relay(ctx context.Context, address string) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("relay %s of the lab host: %w", address, err)
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.relay(ctx, conn, address)
		}
	}()
	return listener.Addr().String(), nil
}

// relay copies both ways until one side ends. A socket belongs to the namespace that it was made in.
func (l *Lab) relay(ctx context.Context, outer net.Conn, address string) {
	defer outer.Close()
	var inner net.Conn
	if err := InNetNS(l.NetNS(), func() (err error) {
		inner, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
		return err
	}); err != nil {
		return
	}
	defer inner.Close()
	defer context.AfterFunc(ctx, func() { _ = inner.Close(); _ = outer.Close() })()
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{outer, inner}, {inner, outer}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			if tcp, ok := pair[0].(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
		})
	}
	wg.Wait()
}
