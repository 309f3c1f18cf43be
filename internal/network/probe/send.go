package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// How packets are sent: so many echo requests, each with so much time for its answer, and one TCP connection.
const (
	echoes     = 2
	echoWait   = 700 * time.Millisecond
	tcpTimeout = 1500 * time.Millisecond
)

// sendPackets opens a TCP connection where the target has a port, and sends echo requests where they are wanted, at the same
// time.
func sendPackets(ctx context.Context, target Target, echoes bool, source netip.Addr) []Packet {
	var echo, tcp Packet
	var wg sync.WaitGroup
	if echoes {
		wg.Go(func() { echo = sendEcho(ctx, target.Address, source) })
	}
	if target.Port != 0 {
		wg.Go(func() { tcp = connectTCP(ctx, target, source) })
	}
	wg.Wait()
	var out []Packet
	if echoes {
		out = append(out, echo)
	}
	if target.Port != 0 {
		out = append(out, tcp)
	}
	return out
}

func connectTCP(ctx context.Context, target Target, source netip.Addr) Packet {
	p := Packet{Kind: "tcp", Port: target.Port, PortState: PortFiltered}
	ctx, cancel := context.WithTimeout(ctx, tcpTimeout)
	defer cancel()
	var d net.Dialer
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	begun := time.Now()
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(target.Address.String(), strconv.Itoa(int(target.Port))))
	p.RTT = time.Since(begun)
	switch {
	case err == nil:
		_ = conn.Close()
		p.Answered, p.PortState, p.Result = true, PortOpen, "connected"
	case errors.Is(err, syscall.ECONNREFUSED):
		p.Answered, p.PortState, p.Result = true, PortClosed, "refused: nothing listens there, or a rule rejects it"
	default:
		p.RTT, p.Result = 0, failure(err)
	}
	return p
}

// failure says in words why nothing came back.
func failure(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return "no answer"
	case errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to host: nobody answers for the address, or a rule rejects it"
	case errors.Is(err, syscall.ENETUNREACH):
		return "network is unreachable: the host has no route"
	case errors.Is(err, syscall.EPERM):
		return "not permitted: a rule of the host's own stops it in OUTPUT"
	default:
		return err.Error()
	}
}

// icmpHeader is the size of an echo's header (RFC 792, RFC 4443).
const icmpHeader = 8

// icmp is the protocol of one family: the network to listen on, the address that is none, and the types of echoes.
type icmp struct {
	network, any   string
	request, reply byte
}

func icmpOf(addr netip.Addr) icmp {
	if addr.Is4() {
		return icmp{"ip4:icmp", "0.0.0.0", 8, 0}
	}
	return icmp{"ip6:ipv6-icmp", "::", 128, 129}
}

// sendEcho sends echo requests, one after another, until one is answered.
func sendEcho(ctx context.Context, target, source netip.Addr) Packet {
	p := Packet{Kind: "icmp"}
	kind := icmpOf(target)
	local := kind.any
	if source.IsValid() {
		local = source.String()
	}
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, kind.network, local)
	if err != nil {
		p.Result = "not sent: " + err.Error()
		return p
	}
	defer conn.Close()
	id := uint16(os.Getpid())
	for seq := uint16(1); seq <= echoes && ctx.Err() == nil; seq++ {
		begun := time.Now()
		if _, err := conn.WriteTo(echoRequest(kind, id, seq), &net.IPAddr{IP: target.AsSlice()}); err != nil {
			p.Result = failure(err)
			return p
		}
		err := awaitEcho(conn, kind, target, id, seq, begun.Add(echoWait))
		if err == nil {
			p.Answered, p.Result, p.RTT = true, "answered", time.Since(begun)
			return p
		}
		p.Result = failure(err)
	}
	return p
}

// awaitEcho waits for the answer with the id and number: the socket sees all ICMP that comes to the host.
func awaitEcho(conn net.PacketConn, kind icmp, from netip.Addr, id, seq uint16, until time.Time) error {
	if err := conn.SetReadDeadline(until); err != nil {
		return fmt.Errorf("wait for the echo: %w", err)
	}
	buf := make([]byte, 1500)
	for {
		n, addr, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if peer, ok := addr.(*net.IPAddr); ok && peer.IP.Equal(from.AsSlice()) && isEcho(buf[:n], kind, id, seq) {
			return nil
		}
	}
}

// isEcho reports whether a message answers the request with the id and number.
func isEcho(message []byte, kind icmp, id, seq uint16) bool {
	return len(message) >= icmpHeader && message[0] == kind.reply && message[1] == 0 &&
		binary.BigEndian.Uint16(message[4:]) == id && binary.BigEndian.Uint16(message[6:]) == seq
}

// echoRequest is an echo request with its checksum (RFC 792, RFC 1071); the kernel makes that of ICMPv6 itself (RFC 3542).
func echoRequest(kind icmp, id, seq uint16) []byte {
	b := make([]byte, icmpHeader, icmpHeader+len("labd"))
	b[0] = kind.request
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	b = append(b, "labd"...)
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return b
}
