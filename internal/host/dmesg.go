package host

import (
	"bufio"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ParseDmesg reads a kernel log as people save it, line by line:
//
//	[<N>][    3.328447] text              dmesg, -r; <N> is the syslog priority and may be missing
//	[    3.328447][    T1] text           with the caller (CONFIG_PRINTK_CALLER)
//	[    3.328447 <    0.000102>] text    dmesg -d
//	kern  :err   : [    3.328447] text    dmesg -x
//	[Sat Nov 28 11:40:02 2026] text       dmesg -T
//	2026-11-28T11:40:02,123456+01:00 text dmesg --time-format iso
//	[    3.328447] host kernel: text      journalctl -o short-monotonic
//	Nov 28 11:40:02 host kernel: text     journalctl, syslog
//	2026-11-28T11:40:02+0100 host kernel: text  journalctl -o short-iso, short-iso-precise
//
// with colours or not, and with any ends of lines. Times of day are taken as times since the first line that has one. Lines of
// another facility than kern are dropped, as are those of other programs in a journal. unread counts lines that have none of
// these forms.
func ParseDmesg(r io.Reader) (records []KernelRecord, unread int, err error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 64<<10), 1<<20)
	var p dmesgParser
	for scanner.Scan() {
		line := strings.TrimRight(scanner.Text(), "\r")
		rec, form := p.line(line)
		switch form {
		case lineRecord:
			records = append(records, rec)
		case lineUnread:
			unread++
		case lineOther:
		}
	}
	return records, unread, scanner.Err()
}

// lineForm is what a line of a log file is.
type lineForm int

const (
	lineUnread lineForm = iota
	lineRecord          // a record of the kernel
	lineOther           // blank, or of somebody else
)

// dmesgParser reads lines; start is the time of day of the first line that has one.
type dmesgParser struct {
	start time.Time
}

var (
	colours     = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")
	callerField = regexp.MustCompile(`^\[ *[TC]\d+\]`)
	// The name of the host and the program, as the journal and syslog write them before the text.
	journalName = regexp.MustCompile(`^\S+ ([^\s:\[\]]+)(?:\[\d+\])?: `)
	isoStamp    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d) `)
	shortStamp  = regexp.MustCompile(`^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})? `)
	decoded     = regexp.MustCompile(`^(\w+) *:(\w+) *: `)
)

var levelNames = map[string]int{"emerg": 0, "alert": 1, "crit": 2, "err": 3, "warn": 4, "notice": 5, "info": 6, "debug": 7}

// line reads one line.
func (p *dmesgParser) line(line string) (KernelRecord, lineForm) {
	if strings.Contains(line, "\x1b[") {
		line = colours.ReplaceAllString(line, "")
	}
	if strings.TrimSpace(line) == "" {
		return KernelRecord{}, lineOther
	}
	rec := KernelRecord{Level: -1}
	if line[0] == '[' { // by far the most
		return p.bracketed(rec, line)
	}
	if rest, found := strings.CutPrefix(line, "<"); found {
		number, rest, _ := strings.Cut(rest, ">")
		prio, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return rec, lineUnread
		}
		if prio>>3 != 0 {
			return rec, lineOther
		}
		rec.Level, line = int(prio&7), rest
	} else if m := decoded.FindStringSubmatch(line); m != nil {
		if m[1] != "kern" {
			return rec, lineOther
		}
		if level, ok := levelNames[m[2]]; ok {
			rec.Level = level
		}
		line = line[len(m[0]):]
	}
	if stamp := isoStamp.FindString(line); stamp != "" {
		return p.dated(rec, parseISO(strings.TrimSpace(stamp)), line[len(stamp):])
	}
	if stamp := shortStamp.FindString(line); stamp != "" {
		at, _ := time.Parse(time.Stamp, strings.TrimSpace(stamp)) // of the pattern; the zero time where it is no date
		return p.dated(rec, at, line[len(stamp):])
	}
	return p.bracketed(rec, line)
}

// bracketed reads a line whose time stands in brackets.
func (p *dmesgParser) bracketed(rec KernelRecord, line string) (KernelRecord, lineForm) {
	rest, found := strings.CutPrefix(line, "[")
	stamp, text, closed := strings.Cut(rest, "]")
	if !found || !closed {
		return rec, lineUnread
	}
	number, _, _ := strings.Cut(strings.TrimSpace(stamp), " ")
	seconds, err := strconv.ParseFloat(number, 64)
	if err != nil {
		at, err := time.Parse(time.ANSIC, strings.TrimSpace(stamp))
		if err != nil {
			return rec, lineUnread
		}
		rec.Time, rec.Text = p.since(at), strings.TrimPrefix(text, " ")
		return rec, lineRecord
	}
	if !(seconds >= 0 && seconds <= 1e9) { // also refuses NaN
		return rec, lineUnread
	}
	rec.Time = time.Duration(seconds*1e6) * time.Microsecond
	if strings.HasPrefix(text, "[") {
		text = text[len(callerField.FindString(text)):]
	}
	text = strings.TrimPrefix(text, " ")
	if strings.Contains(text, " kernel") {
		if m := journalName.FindStringSubmatch(text); m != nil && m[1] == "kernel" {
			text = text[len(m[0]):]
		}
	}
	rec.Text = text
	return rec, lineRecord
}

// dated reads a line that began with a time of day. What the kernel's own time in brackets says counts more.
func (p *dmesgParser) dated(rec KernelRecord, at time.Time, text string) (KernelRecord, lineForm) {
	if m := journalName.FindStringSubmatch(text); m != nil {
		if m[1] == "kernel" {
			text = text[len(m[0]):]
		} else if !kernelSubject.MatchString(text) {
			return rec, lineOther
		}
	}
	if inner, form := p.bracketed(rec, text); form == lineRecord {
		return inner, lineRecord
	}
	if at.IsZero() {
		return rec, lineUnread
	}
	rec.Time, rec.Text = p.since(at), text
	return rec, lineRecord
}

// kernelSubject begins lines of dmesg --time-format iso that look as if they named a host and a program: "nvme nvme0: …".
var kernelSubject = regexp.MustCompile(`^(?:nvme|block|pci|pcieport|pciehp|vfio-pci|iommu|DMAR|blk_update_request|print_req_error)\b`)

// since is the time since the first line that had a time of day. A year ends between "Dec 31" and "Jan 1", which name none.
func (p *dmesgParser) since(at time.Time) time.Duration {
	if p.start.IsZero() {
		p.start = at
	}
	if at.Before(p.start) && at.Year() == 0 {
		at = at.AddDate(1, 0, 0)
	}
	return max(0, at.Sub(p.start))
}

// parseISO reads a time as journalctl or dmesg write it; the zero time where it is none.
func parseISO(text string) time.Time {
	text = strings.Replace(text, ",", ".", 1)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at
		}
	}
	return time.Time{}
}
