package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ForeignError says that a route of another protocol is where labd's should be.
type ForeignError struct {
	Dst netip.Prefix
	// Protocol is that of the route, as ip(8) names it.
	Protocol string
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("a route of protocol %s to %s is there", e.Protocol, e.Dst)
}

// Batch changes routes of the host, many in one message to the kernel: a request for each would cost two turns of the
// scheduler a route.
type Batch struct {
	fd    int
	seq   uint32
	links map[string]int // index by name; 0 where there is no such interface
}

const (
	// batchSize is how many routes go in one message. The kernel answers at the end of it, and to each that fails.
	batchSize = 64
	// Flags and the length of struct nlmsghdr and struct rtmsg (linux/netlink.h, linux/rtnetlink.h).
	nlmsgHead = 16
	rtmsgSize = 12
)

// NewBatch opens a socket for changing routes; Close releases it.
func NewBatch() (*Batch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink for routes: %w", err)
	}
	wait := unix.NsecToTimeval(Timeout.Nanoseconds())
	if err := errors.Join(
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink for routes: %w", err), unix.Close(fd))
	}
	return &Batch{fd: fd, links: map[string]int{}}, nil
}

// Close releases the socket.
func (b *Batch) Close() { _ = unix.Close(b.fd) }

// Add adds routes, or changes those with labd's mark to the same prefix. The kernel's replace looks at the prefix and not
// at the protocol, so it is used only on what was seen to be labd's; a route of another stays and is a *ForeignError. It returns
// how many were made; what comes after a route that fails is not tried.
func (b *Batch) Add(routes []Route) (made int, err error) {
	for len(routes) > 0 {
		part := routes[:min(len(routes), batchSize)]
		routes = routes[len(part):]
		results, err := b.send(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, part)
		if err != nil {
			return made, fmt.Errorf("add %d routes: %w", len(part), err)
		}
		for i, result := range results {
			if errors.Is(result, unix.EEXIST) {
				result = b.replace(part[i])
			}
			if result != nil {
				return made, fmt.Errorf("add route %s: %w", part[i], result)
			}
			made++
		}
	}
	return made, nil
}

// replace changes a route of labd's to the same prefix.
func (b *Batch) replace(r Route) error {
	family := netlink.FAMILY_V4
	if r.Dst.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	there, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{Table: r.Table, Dst: toIPNet(r.Dst)}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
	})
	if err != nil {
		return err
	}
	for _, other := range there {
		if other.Protocol != Protocol {
			return &ForeignError{Dst: r.Dst, Protocol: other.Protocol.String()}
		}
	}
	results, err := b.send(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, []Route{r})
	if err != nil {
		return err
	}
	return results[0]
}

// Remove removes routes, and returns how many it removed. One that is not there, or whose interface is not, is gone already.
func (b *Batch) Remove(routes []Route) (removed int, err error) {
	for len(routes) > 0 {
		part := routes[:min(len(routes), batchSize)]
		routes = routes[len(part):]
		results, err := b.send(unix.RTM_DELROUTE, 0, part)
		if err != nil {
			return removed, fmt.Errorf("remove %d routes: %w", len(part), err)
		}
		for i, result := range results {
			switch {
			case result == nil:
				removed++
			case !errors.Is(result, unix.ESRCH) && !errors.Is(result, unix.ENODEV):
				return removed, fmt.Errorf("remove route %s: %w", part[i], result)
			}
		}
	}
	return removed, nil
}

// send sends one message for each route and returns what the kernel said to each.
func (b *Batch) send(kind, flags uint16, routes []Route) ([]error, error) {
	results := make([]error, len(routes))
	first := b.seq + 1
	var buf []byte
	last := -1
	for i, r := range routes {
		b.seq++
		index, err := b.link(r.Dev)
		if err != nil {
			results[i] = err
			continue
		}
		if len(buf) > 0 {
			// Only the last one asks for an answer where all goes well.
			binary.NativeEndian.PutUint16(buf[last+6:], flags|unix.NLM_F_REQUEST)
		}
		last = len(buf)
		buf = appendRoute(buf, kind, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK, b.seq, r, index)
	}
	if len(buf) == 0 {
		return results, nil
	}
	if err := unix.Sendto(b.fd, buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	return results, b.answers(first, binary.NativeEndian.Uint32(buf[last+8:]), results)
}

// answers reads the kernel's answers until that to the last message.
func (b *Batch) answers(first, last uint32, results []error) error {
	buf := make([]byte, 64<<10)
	for deadline := time.Now().Add(Timeout); time.Now().Before(deadline); {
		n, _, err := unix.Recvfrom(b.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("hear from the kernel: %w", err)
		}
		for rest := buf[:n]; len(rest) >= nlmsgHead+4; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < nlmsgHead+4 || size > len(rest) {
				break
			}
			seq, code := binary.NativeEndian.Uint32(rest[8:]), int32(binary.NativeEndian.Uint32(rest[nlmsgHead:]))
			if binary.NativeEndian.Uint16(rest[4:]) == unix.NLMSG_ERROR && seq >= first && seq <= last {
				if code != 0 {
					results[seq-first] = unix.Errno(-code)
				}
				if seq == last {
					return nil
				}
			}
			rest = rest[min(len(rest), (size+3)&^3):]
		}
	}
	return errors.New("hear from the kernel: no answer in time")
}

// link is the index of an interface.
func (b *Batch) link(name string) (int, error) {
	index, known := b.links[name]
	if !known {
		if link, err := netlink.LinkByName(name); err == nil {
			index = link.Attrs().Index
		}
		b.links[name] = index
	}
	if index == 0 {
		return 0, fmt.Errorf("there is no interface %s: %w", name, unix.ENODEV)
	}
	return index, nil
}

// appendRoute appends a message with everything that identifies the route, so that no other can be meant.
func appendRoute(buf []byte, kind, flags uint16, seq uint32, r Route, index int) []byte {
	start := len(buf)
	buf = append(buf, make([]byte, nlmsgHead+rtmsgSize)...)
	head, rtmsg := buf[start:], buf[start+nlmsgHead:]
	binary.NativeEndian.PutUint16(head[4:], kind)
	binary.NativeEndian.PutUint16(head[6:], flags)
	binary.NativeEndian.PutUint32(head[8:], seq)
	rtmsg[0] = unix.AF_INET
	if r.Dst.Addr().Is6() {
		rtmsg[0] = unix.AF_INET6
	}
	rtmsg[1] = uint8(r.Dst.Bits())
	rtmsg[5] = uint8(r.Protocol)
	rtmsg[7] = unix.RTN_UNICAST
	if r.Table < 256 {
		rtmsg[4] = uint8(r.Table)
	}
	if kind == unix.RTM_DELROUTE {
		rtmsg[6] = unix.RT_SCOPE_NOWHERE
	}
	buf = appendAttr(buf, unix.RTA_DST, r.Dst.Addr().AsSlice())
	if r.Via.IsValid() {
		buf = appendAttr(buf, unix.RTA_GATEWAY, r.Via.AsSlice())
	}
	buf = appendAttr(buf, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(index)))
	buf = appendAttr(buf, unix.RTA_TABLE, binary.NativeEndian.AppendUint32(nil, uint32(r.Table)))
	binary.NativeEndian.PutUint32(buf[start:], uint32(len(buf)-start))
	return buf
}

func appendAttr(buf []byte, kind uint16, value []byte) []byte {
	buf = binary.NativeEndian.AppendUint16(buf, uint16(4+len(value)))
	buf = binary.NativeEndian.AppendUint16(buf, kind)
	buf = append(buf, value...)
	for len(buf)%4 != 0 {
		buf = append(buf, 0)
	}
	return buf
}
