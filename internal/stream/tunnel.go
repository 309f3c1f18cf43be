package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"labd/internal/frame"
)

// Counts are the bytes that went through a tunnel.
type Counts struct {
	// ToBackend is what the caller sent, ToCaller what the backend sent.
	ToBackend, ToCaller int64
}

// bufferSize is that of one direction of a tunnel, in bytes.
const bufferSize = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// Tunnel copies between a caller and a backend until both are done, then closes both. The end of one direction is passed
// on as a half-close; an error in one ends both. After the backend's end the caller has drain to finish. A caller that is
// gone, which on a unix socket is told from one that only sends no more, ends the backend at once, and so does ctx. early
// is what was read of the caller already, followed by the caller; nil stands for the caller.
func Tunnel(ctx context.Context, caller, backend net.Conn, early io.Reader, drain time.Duration) (Counts, error) {
	if early == nil {
		early = caller
	}
	return run(ctx, caller, backend, drain,
		func() (int64, error) { return pipe(backend, early) },
		func() (int64, error) { return pipe(caller, backend) })
}

// Framed is Tunnel for the stream of a process: its output, frames of a daemon's or the raw bytes of a terminal, becomes
// frames of labd's. result makes the last frame once the output has ended. Input that nobody wants any more is read and
// dropped: a process may end before its input does, and what it wrote must still arrive.
func Framed(ctx context.Context, caller, backend net.Conn, early io.Reader, terminal bool, result func(error) []byte) (Counts, error) {
	if early == nil {
		early = caller
	}
	out := frame.NewWriter(caller)
	up := func() (int64, error) {
		n, err := pipe(backend, early)
		if err != nil {
			_, _ = io.Copy(io.Discard, early)
		}
		return n, nil
	}
	down := func() (n int64, err error) {
		sink := func(id byte, p []byte) error {
			n += int64(len(p))
			return out.Write(id, p)
		}
		if terminal {
			err = frame.Raw(backend, sink)
		} else {
			err = frame.Demux(backend, frame.SystemError, sink)
		}
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		if err = out.Write(frame.Result, result(err)); err != nil {
			return n, err
		}
		return n, closeWrite(caller)
	}
	return run(ctx, caller, backend, resultTime, up, down)
}

// resultTime is how long the caller of a process has to take its last frame and hang up.
const resultTime = 10 * time.Second

// run runs both directions: up to the backend, down to the caller.
func run(ctx context.Context, caller, backend net.Conn, drain time.Duration, up, down func() (int64, error)) (Counts, error) {
	var counts Counts
	var wg sync.WaitGroup
	upDone, downDone, gone := make(chan error, 1), make(chan error, 1), make(chan struct{})
	wg.Go(func() {
		var err error
		counts.ToBackend, err = up()
		upDone <- err
	})
	wg.Go(func() {
		var err error
		counts.ToCaller, err = down()
		downDone <- err
	})
	end := func(err error) (Counts, error) {
		_ = caller.Close()
		_ = backend.Close()
		wg.Wait()
		return counts, err
	}

	upEnded, downEnded := false, false
	var drained <-chan time.Time
	for !upEnded || !downEnded {
		select {
		case err := <-upDone:
			if err != nil {
				return end(err)
			}
			upEnded = true
			wg.Go(func() {
				if waitGone(caller) {
					close(gone)
				}
			})
		case err := <-downDone:
			if err != nil {
				return end(err)
			}
			downEnded, drained = true, time.After(drain)
		case <-gone:
			counts, err := end(nil)
			if !downEnded && <-downDone != nil {
				err = errCallerGone
			}
			return counts, err
		case <-drained:
			return end(nil)
		case <-ctx.Done():
			return end(context.Cause(ctx))
		}
	}
	return end(nil)
}

// errCallerGone says that the caller closed its connection while the backend still had something to say.
var errCallerGone = errors.New("the caller is gone")

// pipe copies until src ends and passes the end on.
func pipe(dst net.Conn, src io.Reader) (int64, error) {
	buf, _ := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	// Neither side's ReadFrom or WriteTo: on unix sockets they would splice, which cannot be counted while it runs.
	n, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, *buf)
	if err != nil {
		return n, err
	}
	return n, closeWrite(dst)
}

// waitGone waits until the other side of a connection is gone for good, and reports whether it can tell. By TLS a peer that
// only ended its sending half keeps the TCP connection below open. On a unix socket a peer that closed shows as POLLHUP, one that only ended its sending half as POLLRDHUP (unix(7), poll(2)). The wait is
// the runtime's poller's, without a thread, and ends when the connection is closed here.
func waitGone(c net.Conn) bool {
	if secure, ok := c.(*tls.Conn); ok {
		_, err := secure.NetConn().Read(make([]byte, 1))
		return err != nil && !errors.Is(err, net.ErrClosed)
	}
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		return gone || err != nil && !errors.Is(err, unix.EINTR)
	})
	return err == nil && gone
}
