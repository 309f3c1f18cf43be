package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"labd/internal/host"
)

// Group is the multicast group in which nftables tells of every change in its network namespace (NFNLGRP_NFTABLES).
const Group = 7

// generations asks a network namespace for its nftables generation and for a digest of its legacy tables, without any
// program. Its sockets are made at the first question and kept.
type generations struct {
	namespace *os.File

	mu     sync.Mutex
	nft    int // netlink socket, -1 before it is made
	legacy [2]int
	seq    uint32
	seed   maphash.Seed
}

func newGenerations(namespace *os.File) *generations {
	return &generations{namespace: namespace, nft: -1, legacy: [2]int{-1, -1}, seed: maphash.MakeSeed()}
}

// open makes a socket in the namespace.
func (g *generations) open(domain, kind, protocol int) (fd int, err error) {
	socket := func() error {
		fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
		return err
	}
	if g.namespace == nil {
		err = socket()
	} else {
		err = host.InNetNS(g.namespace, socket)
	}
	if err != nil {
		return -1, fmt.Errorf("open a socket to ask for the rules' generation: %w", err)
	}
	return fd, nil
}

// answerTimeout bounds the wait for the kernel, which answers at once.
const answerTimeout = time.Second

// Messages of nfnetlink (linux/netfilter/nf_tables.h).
const (
	msgGetGen   = unix.NFNL_SUBSYS_NFTABLES<<8 | 16 // NFT_MSG_GETGEN
	msgNewGen   = unix.NFNL_SUBSYS_NFTABLES<<8 | 15 // NFT_MSG_NEWGEN
	attrGenID   = 1                                 // NFTA_GEN_ID
	netlinkHead = 16
	familyHead  = 4
)

// nftGeneration is the id of the ruleset in force, which changes with every transaction.
func (g *generations) nftGeneration() (uint32, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.nft < 0 {
		fd, err := g.open(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
		if err != nil {
			return 0, err
		}
		wait := unix.NsecToTimeval(answerTimeout.Nanoseconds())
		if err := errors.Join(unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)); err != nil {
			return 0, errors.Join(err, unix.Close(fd))
		}
		g.nft = fd
	}
	g.seq++
	request := make([]byte, netlinkHead+familyHead)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], msgGetGen)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(request[8:], g.seq)
	if err := unix.Sendto(g.nft, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("ask nftables for its generation: %w", err)
	}
	buf := make([]byte, 512)
	for {
		n, _, err := unix.Recvfrom(g.nft, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("ask nftables for its generation: %w", err)
		}
		id, seq, err := parseGeneration(buf[:n])
		if seq != g.seq {
			continue // the answer to an earlier question that was given up
		}
		return id, err
	}
}

// parseGeneration reads one message: the generation, or the kernel's error.
func parseGeneration(b []byte) (id, seq uint32, err error) {
	if len(b) < netlinkHead {
		return 0, 0, errors.New("ask nftables for its generation: a short answer")
	}
	kind := binary.NativeEndian.Uint16(b[4:])
	seq = binary.NativeEndian.Uint32(b[8:])
	switch kind {
	case unix.NLMSG_ERROR:
		if len(b) < netlinkHead+4 {
			return 0, seq, errors.New("ask nftables for its generation: a short error")
		}
		code := int32(binary.NativeEndian.Uint32(b[netlinkHead:]))
		return 0, seq, fmt.Errorf("ask nftables for its generation: %w", unix.Errno(-code))
	case msgNewGen:
	default:
		return 0, seq, fmt.Errorf("ask nftables for its generation: an answer of kind %#x", kind)
	}
	for rest := b[min(len(b), netlinkHead+familyHead):]; len(rest) >= 8; {
		size, attr := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < 4 || size > len(rest) {
			break
		}
		if attr == attrGenID && size == 8 {
			return binary.BigEndian.Uint32(rest[4:]), seq, nil
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return 0, seq, errors.New("ask nftables for its generation: an answer without one")
}

// Options of the legacy tables (linux/netfilter_ipv4/ip_tables.h; those of IPv6 have the same numbers at SOL_IPV6).
const (
	optGetInfo    = 64
	optGetEntries = 65
	// infoSize is sizeof(struct ipt_getinfo): name, valid hooks, five entry points, five underflows, number, size.
	infoSize    = 32 + 4 + 5*4 + 5*4 + 4 + 4
	entriesHead = 40 // offsetof(struct ipt_get_entries, entrytable): name, size, and padding to eight bytes
	maxLegacy   = 4 << 20
)

// legacyFamily is where a family's tables are asked for, and offsets in the head of an entry (struct ipt_entry and
// ip6t_entry): where it says how long the entry is, where what changes with each packet begins (comefrom and the
// counters), and where the head ends.
type legacyFamily struct{ domain, level, next, variable, end int }

var legacyFamilies = [2]legacyFamily{
	{unix.AF_INET, unix.SOL_IP, 90, 92, 112},
	{unix.AF_INET6, unix.SOL_IPV6, 142, 144, 168},
}

// legacyDigest is a digest of the rules of legacy tables, without their counters. Only tables that are in use may be
// named: the kernel makes a table that is asked for.
func (g *generations) legacyDigest(family int, tables []string) (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := legacyFamilies[family]
	if g.legacy[family] < 0 {
		fd, err := g.open(f.domain, unix.SOCK_DGRAM, 0)
		if err != nil {
			return 0, err
		}
		g.legacy[family] = fd
	}
	var hash maphash.Hash
	hash.SetSeed(g.seed)
	for _, table := range tables {
		entries, err := readTable(g.legacy[family], f.level, table)
		if err != nil {
			return 0, fmt.Errorf("read the legacy table %s: %w", table, err)
		}
		_, _ = hash.WriteString(table)
		_, _ = hash.Write(f.withoutCounters(entries))
	}
	return hash.Sum64(), nil
}

// readTable returns the entries of a table as the kernel has them.
func readTable(fd, level int, table string) ([]byte, error) {
	if len(table) == 0 || len(table) > 31 {
		return nil, unix.EINVAL
	}
	for range 5 {
		info := make([]byte, infoSize)
		copy(info, table)
		if err := getsockopt(fd, level, optGetInfo, info); err != nil {
			return nil, err
		}
		size := int(binary.NativeEndian.Uint32(info[infoSize-4:]))
		if size > maxLegacy {
			return nil, unix.E2BIG
		}
		buf := make([]byte, entriesHead+size)
		copy(buf, table)
		binary.NativeEndian.PutUint32(buf[32:], uint32(size))
		err := getsockopt(fd, level, optGetEntries, buf)
		if errors.Is(err, unix.EAGAIN) {
			continue // it changed between the two
		}
		return buf[entriesHead:], err
	}
	return nil, unix.EAGAIN
}

// getsockopt fills buf, whose content the kernel reads first.
func getsockopt(fd, level, option int, buf []byte) error {
	size := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// withoutCounters blanks what changes with each packet.
func (f legacyFamily) withoutCounters(entries []byte) []byte {
	for rest := entries; len(rest) >= f.end; {
		next := int(binary.NativeEndian.Uint16(rest[f.next:]))
		clear(rest[f.variable:f.end])
		if next < f.end || next > len(rest) {
			break
		}
		rest = rest[next:]
	}
	return entries
}

func (g *generations) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, fd := range []*int{&g.nft, &g.legacy[0], &g.legacy[1]} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}
