package route

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// LinkNames returns the names of the interfaces in a network namespace by index; nil is labd's own namespace. The
// library's list takes each interface apart with all its counters, of which nothing is wanted here; there are many
// containers with many bridges.
func LinkNames(namespace *os.File) (map[int]string, error) {
	at := netns.None()
	if namespace != nil {
		at = netns.NsHandle(namespace.Fd())
	}
	socket, err := nl.GetNetlinkSocketAt(at, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	defer socket.Close()
	wait := unix.NsecToTimeval(Timeout.Nanoseconds())
	if err := socket.SetReceiveTimeout(&wait); err != nil {
		return nil, err
	}
	messages, err := dump(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	})
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := make(map[int]string, len(messages))
	for _, m := range messages {
		if index, name, ok := parseLink(m); ok {
			names[index] = name
		}
	}
	return names, nil
}

// skipStats leaves the counters out (RTEXT_FILTER_SKIP_STATS in linux/rtnetlink.h).
const skipStats = 1 << 3

// parseLink reads index and name of struct ifinfomsg and its attributes.
func parseLink(m []byte) (index int, name string, ok bool) {
	if len(m) < unix.SizeofIfInfomsg {
		return 0, "", false
	}
	index = int(int32(binary.NativeEndian.Uint32(m[4:])))
	for rest := m[unix.SizeofIfInfomsg:]; len(rest) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(rest))
		if size < unix.SizeofRtAttr || size > len(rest) {
			break
		}
		if binary.NativeEndian.Uint16(rest[2:]) == unix.IFLA_IFNAME {
			name, _, _ = strings.Cut(string(rest[unix.SizeofRtAttr:size]), "\x00")
			return index, name, name != ""
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return 0, "", false
}
