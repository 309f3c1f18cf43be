package route

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// linkMessage is a struct ifinfomsg with attributes, as the kernel sends it.
func linkMessage(index int32, attrs ...[]byte) []byte {
	m := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(m[4:], uint32(index))
	for _, a := range attrs {
		m = append(m, a...)
	}
	return m
}

func TestParseLink(t *testing.T) {
	name := appendAttr(nil, unix.IFLA_IFNAME, []byte("vmbr0\x00"))
	mtu := appendAttr(nil, unix.IFLA_MTU, []byte{1, 2, 3, 4})
	for what, m := range map[string][]byte{"name first": linkMessage(7, name, mtu), "name last": linkMessage(7, mtu, name)} {
		if index, got, ok := parseLink(m); !ok || index != 7 || got != "vmbr0" {
			t.Errorf("%s: %d %q %v", what, index, got, ok)
		}
	}
	for what, m := range map[string][]byte{"short": linkMessage(7)[:10], "without a name": linkMessage(7, mtu), "cut": linkMessage(7, name[:6])} {
		if _, got, ok := parseLink(m); ok {
			t.Errorf("%s: %q", what, got)
		}
	}
}

func FuzzParseLink(f *testing.F) {
	f.Add(linkMessage(3, appendAttr(nil, unix.IFLA_IFNAME, []byte("eth0\x00"))))
	f.Fuzz(func(t *testing.T, m []byte) {
		if _, name, ok := parseLink(m); ok && name == "" {
			t.Error("an interface without a name")
		}
	})
}
