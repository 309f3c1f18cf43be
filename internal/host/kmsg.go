package host

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// KernelRecord is one record of the kernel log.
type KernelRecord struct {
	// Level is the syslog level, 0 (emergency) to 7 (debug); -1 where a file of dmesg lines does not say.
	Level int
	// Seq is the record's number since boot; 0 in a file of dmesg lines.
	Seq uint64
	// Time is the time since boot.
	Time time.Duration
	// Text is the message without prefix. It is foreign text: it may hold any byte.
	Text string
}

// maxPoll is how many records one Poll reads: more than a log buffer of 4 MiB holds.
const maxPoll = 100_000

// KernelLog reads the kernel log bit by bit: each Poll returns what came since the last. Only records of facility kern
// count, since any program may write others to /dev/kmsg. It is not safe for concurrent use.
type KernelLog struct {
	path    string
	device  *os.File
	modTime time.Time
	size    int64
	buf     []byte
	// read is a field so that tests can be the device.
	read func(device *os.File, buf []byte) (int, error)
}

// KernelLog returns a reader of the host's kernel log that starts with the oldest record.
func (h *Host) KernelLog() *KernelLog {
	return &KernelLog{path: h.Kmsg, read: readDevice}
}

// readDevice reads one record without waiting.
func readDevice(device *os.File, buf []byte) (n int, err error) {
	raw, err := device.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), buf) })
	return n, cmp.Or(controlErr, err)
}

// Close releases the device.
func (l *KernelLog) Close() error {
	if l.device == nil {
		return nil
	}
	return l.device.Close()
}

// Rewind has the next Poll begin with the oldest record again.
func (l *KernelLog) Rewind() {
	_ = l.Close() // of a device that was only read
	l.device, l.modTime, l.size = nil, time.Time{}, 0
}

// Poll returns the records that came since the last Poll, oldest first, without waiting. lost says that records were
// overwritten before they could be read; whole says that records holds the log from its first line on, as after a
// file of dmesg lines was replaced.
func (l *KernelLog) Poll() (records []KernelRecord, lost, whole bool, err error) {
	if l.device != nil {
		records, lost, err = l.pollDevice()
		return records, lost, false, err
	}
	info, err := os.Stat(l.path)
	if err != nil {
		return nil, false, false, fmt.Errorf("read the kernel log: %w", err)
	}
	if info.Mode()&fs.ModeCharDevice == 0 {
		records, whole, err = l.pollFile(info)
		return records, false, whole, err
	}
	// Non-blocking by flag and read by hand: the runtime's poller would turn "no more records" into waiting.
	fd, err := unix.Open(l.path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false, false, fmt.Errorf("read the kernel log: open %s: %w", l.path, err)
	}
	l.device = os.NewFile(uintptr(fd), l.path)
	// A record is at most 8 KiB (kernel/printk/printk.c, PRINTKRB_RECORD_MAX and its predecessors).
	l.buf = make([]byte, 8192+1024)
	records, lost, err = l.pollDevice()
	if len(records) > 0 && records[0].Seq > 0 {
		lost = true
	}
	return records, lost, true, err
}

func (l *KernelLog) pollDevice() (records []KernelRecord, lost bool, err error) {
	// Whoever writes to the log all the time must not keep a Poll from its end; the next one goes on.
	for range maxPoll {
		n, err := l.read(l.device, l.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return records, lost, nil
		case errors.Is(err, unix.EPIPE): // overwritten; the next read goes on with the oldest record
			lost = true
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return records, lost, fmt.Errorf("read the kernel log: %w", err)
		case n == 0:
			return records, lost, nil
		}
		if rec, ok := ParseKmsg(l.buf[:n]); ok {
			records = append(records, rec)
		}
	}
	return records, lost, nil
}

func (l *KernelLog) pollFile(info fs.FileInfo) (records []KernelRecord, whole bool, err error) {
	if info.ModTime().Equal(l.modTime) && info.Size() == l.size {
		return nil, false, nil
	}
	f, err := os.Open(l.path)
	if err != nil {
		return nil, false, fmt.Errorf("read the kernel log: %w", err)
	}
	defer f.Close()
	records, unread, err := ParseDmesg(&limitedReader{r: f, left: MaxTable})
	if err != nil {
		return nil, false, fmt.Errorf("read the kernel log %s: %w", l.path, err)
	}
	if len(records) == 0 && unread > 0 {
		return nil, false, fmt.Errorf("read the kernel log %s: %d lines, none of them readable; labd knows the forms of dmesg and of journalctl", l.path, unread)
	}
	l.modTime, l.size = info.ModTime(), info.Size()
	return records, true, nil
}

// ParseKmsg reads one record as /dev/kmsg gives it: "prio,seq,usec,flags[,…];text\n KEY=value\n…" (kernel
// Documentation/ABI/testing/dev-kmsg). ok is false for a malformed record and for any facility but kern (0).
func ParseKmsg(b []byte) (rec KernelRecord, ok bool) {
	head, text, found := bytes.Cut(b, []byte(";"))
	if !found {
		return rec, false
	}
	fields := strings.Split(string(head), ",")
	if len(fields) < 3 {
		return rec, false
	}
	prio, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || prio>>3 != 0 {
		return rec, false
	}
	seq, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return rec, false
	}
	usec, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || usec < 0 || usec > int64(1<<62)/1000 {
		return rec, false
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return KernelRecord{Level: int(prio & 7), Seq: seq, Time: time.Duration(usec) * time.Microsecond, Text: unescapeKmsg(string(line))}, true
}

// unescapeKmsg undoes the \xNN that /dev/kmsg writes for unprintable bytes.
func unescapeKmsg(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+4 <= len(s) && s[i] == '\\' && s[i+1] == 'x' {
			if v, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
