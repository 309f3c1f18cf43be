package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
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

// Get fetches a URL as the LAN client would, within two seconds, and returns the body.
func (l *Lab) Get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		inner := InNetNS(l.LANNetNS(), func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, inner
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", fmt.Errorf("get %s from the LAN: %w", url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(body), err
}
