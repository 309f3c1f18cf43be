package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Which bytes of a path stay as they are, as unit_name_escape of systemd has it (basic/unit-name.c, VALID_CHARS without "\-@").
func TestMountUnitNameOfEveryByte(t *testing.T) {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_."
	for c := 1; c < 256; c++ {
		want := fmt.Sprintf(`a\x%02xb.mount`, c)
		if strings.IndexByte(plain, byte(c)) >= 0 {
			want = "a" + string(rune(c)) + "b.mount"
		}
		if c == '/' {
			want = "a-b.mount"
		}
		if got := MountUnitName("/a" + string([]byte{byte(c)}) + "b"); got != want {
			t.Errorf("byte %d: %q, want %q", c, got, want)
		}
	}
	if got := MountUnitName("/a/.b"); got != "a-.b.mount" {
		t.Errorf("a dot that is not the first: %q", got)
	}
}

func TestParseKmsgRecords(t *testing.T) {
	for text, want := range map[string]*KernelRecord{
		"6,1234,5678901,-;nvme nvme0: reset\n SUBSYSTEM=nvme\n": {Level: 6, Seq: 1234, Time: 5678901 * time.Microsecond, Text: "nvme nvme0: reset"},
		"0,0,0;x":                      {Text: "x"},
		"7,1,2,-,caller=T1;a;b":        {Level: 7, Seq: 1, Time: 2 * time.Microsecond, Text: "a;b"},
		`3,1,2,-;a\x0ab\x1b\xz1\x4`:    {Level: 3, Seq: 1, Time: 2 * time.Microsecond, Text: "a\nb\x1b" + `\xz1\x4`},
		`3,1,2,-;\y41\x41`:             {Level: 3, Seq: 1, Time: 2 * time.Microsecond, Text: `\y41A`},
		`3,1,2,-;yx41\x41`:             {Level: 3, Seq: 1, Time: 2 * time.Microsecond, Text: `yx41A`},
		`3,1,2,-;\x41`:                 {Level: 3, Seq: 1, Time: 2 * time.Microsecond, Text: "A"},
		"6,1,4611686018427387,-;x":     {Level: 6, Seq: 1, Time: 4611686018427387 * time.Microsecond, Text: "x"},
		"6,1,4611686018427388,-;x":     nil,
		"12,1,2,-;user":                nil,
		"14,1,2,-;user":                nil,
		"6,1;x":                        nil,
		"6,1,2":                        nil,
		"x,1,2,-;x":                    nil,
		"6,x,2,-;x":                    nil,
		"6,-1,2,-;x":                   nil,
		"6,1,x,-;x":                    nil,
		"6,1,-2,-;x":                   nil,
		"6,1,99999999999999999999,-;x": nil,
		"99999999999999999999,1,2,-;x": nil,
		"":                             nil,
	} {
		got, ok := ParseKmsg([]byte(text))
		if ok != (want != nil) || ok && got != *want {
			t.Errorf("%q: %+v, %v", text, got, ok)
		}
	}
}

func TestParseDmesgLines(t *testing.T) {
	for line, want := range map[string]*KernelRecord{
		"<3>[    3.328447] nvme nvme1: x": {Level: 3, Time: 3328447 * time.Microsecond, Text: "nvme nvme1: x"},
		"[    3.328447] nvme nvme1: x":    {Level: -1, Time: 3328447 * time.Microsecond, Text: "nvme nvme1: x"},
		"[0.000000]x":                     {Level: -1, Text: "x"},
		"[1000000000.0] x":                {Level: -1, Time: 1e9 * time.Second, Text: "x"},
		"[1000000000.5] x":                nil,
		"[-0.1] x":                        nil,
		"[NaN] x":                         nil,
		"[Inf] x":                         nil,
		"[x] x":                           nil,
		"[1.0 x":                          nil,
		"[1.0":                            nil,
		"1.0] x":                          nil,
		"(1.0] x":                         nil,
		"<3 [1.0] x":                      nil,
		"<x>[1.0] x":                      nil,
		"<14>[1.0] x":                     nil,
		"<12>[1.0] x":                     nil,
		"<99999999999>[1.0] x":            nil,
		"<3>x [1.0] y":                    nil,
		"":                                nil,
	} {
		got, form := new(dmesgParser).line(line)
		ok := form == lineRecord
		if ok != (want != nil) || ok && got != *want {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
}

// Each field that a record of the journal needs, left out or wrong.
func TestParseJournalFields(t *testing.T) {
	const boot = "0123456789abcdef0123456789abcdef"
	whole := map[string]any{
		"_BOOT_ID": boot, "__REALTIME_TIMESTAMP": "1700000000000000", "__MONOTONIC_TIMESTAMP": "5000000", "_SOURCE_MONOTONIC_TIMESTAMP": "4000000",
		"PRIORITY": "3", "SYSLOG_FACILITY": "0", "MESSAGE": "nvme nvme0: x",
	}
	want := JournalRecord{
		Boot: "01234567-89ab-cdef-0123-456789abcdef", At: time.UnixMicro(1700000000000000).UTC(),
		KernelRecord: KernelRecord{Level: 3, Time: 4 * time.Second, Text: "nvme nvme0: x"},
	}
	with := func(changes ...any) []byte {
		record := map[string]any{}
		for k, v := range whole {
			record[k] = v
		}
		for i := 0; i < len(changes); i += 2 {
			if record[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
				delete(record, changes[i].(string))
			}
		}
		text, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		return append(text, '\n')
	}
	later, unknown, bytes := want, want, want
	later.Time = 5 * time.Second
	unknown.Level = -1
	bytes.Text = "a\xff"
	for _, c := range []struct {
		line []byte
		want []JournalRecord
	}{
		{with(), []JournalRecord{want}},
		{with("_SOURCE_MONOTONIC_TIMESTAMP", nil), []JournalRecord{later}},
		{with("_SOURCE_MONOTONIC_TIMESTAMP", "x"), []JournalRecord{later}},
		{with("PRIORITY", "x"), []JournalRecord{unknown}},
		{with("PRIORITY", "8"), []JournalRecord{unknown}},
		{with("MESSAGE", []int{'a', 255}), []JournalRecord{bytes}},
		{with("MESSAGE", nil), nil},
		{with("MESSAGE", ""), nil},
		{with("MESSAGE", map[string]int{"a": 1}), nil},
		{with("MESSAGE", []any{97, "x"}), nil},
		{with("_SOURCE_MONOTONIC_TIMESTAMP", nil, "__MONOTONIC_TIMESTAMP", nil), nil},
		{with("__REALTIME_TIMESTAMP", nil), nil},
		{with("__REALTIME_TIMESTAMP", "-1"), nil},
		{with("_BOOT_ID", boot[1:]), nil},
		{with("_BOOT_ID", boot+"0"), nil},
		{with("_BOOT_ID", boot[:31]+"x"), nil},
		{with("_BOOT_ID", nil), nil},
		{with("SYSLOG_FACILITY", "1"), nil},
		{with("SYSLOG_FACILITY", nil), nil},
		{[]byte(`{"_BOOT_ID":`), nil},
	} {
		if diff := cmp.Diff(c.want, ParseJournal(c.line)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.line, diff)
		}
	}
}

func TestParseUnitLines(t *testing.T) {
	for text, want := range map[string]Unit{
		"[Unit]\nA=1\n":                            {"Unit": {"A": {"1"}}},
		"[Unit]\n;A=1\n#B=2\nC=3":                  {"Unit": {"C": {"3"}}},
		"[Unit]\nA=1 ; not a comment":              {"Unit": {"A": {"1 ; not a comment"}}},
		"A=1\n[Unit]\n":                            {},
		"[Unit\nA=1\n":                             {},
		"[Unit]\n[x\nA=1\n":                        {"Unit": {"A": {"1"}}},
		"[Unit]\nx]\nA=1\n":                        {"Unit": {"A": {"1"}}},
		"[Unit]\nA\nB=\n":                          {"Unit": {"B": {""}}},
		"[Unit]\nA=1\\\n# comment\n2\nB=3":         {"Unit": {"A": {"1 2"}, "B": {"3"}}},
		"[Unit]\nA=1\\\n; comment\n2\nB=3":         {"Unit": {"A": {"1 2"}, "B": {"3"}}},
		"[Unit]\nA=1\n[Mount]\nA=2\n[Unit]\nA=3\n": {"Unit": {"A": {"1", "3"}}, "Mount": {"A": {"2"}}},
	} {
		if diff := cmp.Diff(want, ParseUnit([]byte(text))); diff != "" {
			t.Errorf("%q: -want +got:\n%s", text, diff)
		}
	}
	if got := (Unit{}).Value("Unit", "A"); got != "" {
		t.Errorf("no value: %q", got)
	}
}

// A program is found by its name in the host's directories alone, and only if it can be run.
func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"good": 0o700, "text": 0o600} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	h := New(Paths{Exec: dir}, "")
	if !h.HasProgram("good") || h.HasProgram("text") || h.HasProgram("directory") || h.HasProgram("absent") {
		t.Error("what is no program is taken for one, or the other way round")
	}
	if _, err := lookPath(".:bin:"+dir, "good"); err != nil {
		t.Error(err)
	}
	for path, name := range map[string]string{".": "good", "": "good", dir: "../" + filepath.Base(dir) + "/good", "/": dir[1:] + "/good", dir + "/": "text"} {
		if file, err := lookPath(path, name); err == nil {
			t.Errorf("%s in %q is %s", name, path, file)
		}
	}
	if _, err := lookPath(dir, "directory"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := h.Run(t.Context(), Cmd{Name: "absent"}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("a program that there is not: %v", err)
	}
	if New(Paths{Exec: "", Etc: "/tree"}, "").HasProgram("sh") {
		t.Error("a labd that runs nothing has programs")
	}
}

func TestMoved(t *testing.T) {
	for name, change := range map[string]func(*Paths){"etc": func(p *Paths) { p.Etc = "/x" }, "dev": func(p *Paths) { p.Dev = "/x" }, "pve": func(p *Paths) { p.PVE = "/x" }} {
		paths := DefaultPaths()
		if New(paths, "").Moved() {
			t.Error("the machine's own trees are moved")
		}
		if change(&paths); !New(paths, "").Moved() || New(paths, "").ExecPATH() != "" {
			t.Errorf("%s is moved, and labd runs the machine's programs", name)
		}
	}
}

func TestKernelAndBoot(t *testing.T) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	if got, want := New(DefaultPaths(), "").KernelRelease(), unix.ByteSliceToString(uts.Release[:]); got != want || got == "" {
		t.Errorf("release %q, want %q", got, want)
	}
	if got := New(DefaultPaths(), "6.8.12-4-pve").KernelRelease(); got != "6.8.12-4-pve" {
		t.Errorf("release %q", got)
	}
	dir := t.TempDir()
	h := New(Paths{Procfs: dir}, "")
	if h.BootID() != "" {
		t.Error("a boot id from nowhere")
	}
	if _, ok := h.Uptime(); ok {
		t.Error("an uptime from nowhere")
	}
	if err := os.MkdirAll(filepath.Join(dir, "sys/kernel/random"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sys/kernel/random/boot_id"), []byte("id\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := h.BootID(); got != "id" {
		t.Errorf("boot id %q", got)
	}
	for text, want := range map[string]time.Duration{"12.5 99.0\n": 12500 * time.Millisecond, "0 0": 0, "x 1": -1, "-1.0 2": -1, "": -1} {
		if err := os.WriteFile(filepath.Join(dir, "uptime"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, ok := h.Uptime()
		if ok != (want >= 0) || ok && got != want || !ok && got != 0 {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
}

// Head reads the beginning, File all up to its limit, and neither what it may not.
func TestReaderOfFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", MaxFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	h := New(DefaultPaths(), "")
	r := h.NewReader(0)
	defer r.Close()
	if r.timeout != DefaultReadTimeout {
		t.Errorf("the deadline is %v", r.timeout)
	}
	if data, err := r.File(file); err != nil || len(data) != MaxFile {
		t.Errorf("as large as allowed: %d, %v", len(data), err)
	}
	if data, err := r.Head(file, 10); err != nil || len(data) != 10 {
		t.Errorf("head: %q, %v", data, err)
	}
	for name, want := range map[string]error{filepath.Join(dir, "absent"): fs.ErrNotExist, file + "/x": unix.ENOTDIR} {
		if _, err := r.File(name); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.Head(name, 10); !errors.Is(err, want) {
			t.Errorf("head of %s: %v", name, err)
		}
		if _, err := r.Names(name); !errors.Is(err, want) {
			t.Errorf("names of %s: %v", name, err)
		}
		if _, err := ReadTable(t.Context(), h, name, ParseMountinfo); !errors.Is(err, want) {
			t.Errorf("table %s: %v", name, err)
		}
	}
	if _, err := r.File(dir); !errors.Is(err, unix.EISDIR) {
		t.Errorf("a directory: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.ReadFile(ctx, file); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := New(Paths{Procfs: dir}, "").Mounts(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no mount table: %v", err)
	}
}

// While a read of a file hangs, another one of the same file is not tried.
func TestReaderRemembersWhatHangs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	h := New(DefaultPaths(), "")
	r := h.NewReader(10 * time.Millisecond)
	defer r.Close()
	if _, err := r.File(fifo); !errors.Is(err, ErrHung) {
		t.Fatal(err)
	}
	other := h.NewReader(time.Hour)
	defer other.Close()
	start := time.Now()
	if _, err := other.File(fifo); !errors.Is(err, ErrHung) || time.Since(start) > time.Minute {
		t.Errorf("another reader: %v after %v", err, time.Since(start))
	}
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	waitFor(t, func() bool { return h.Hung() == 0 })
}

// A file of dmesg lines is read again when its time or its size is another one.
func TestPollOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dmesg")
	at := time.Unix(1_700_000_000, 0)
	write := func(text string, at time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	log := New(Paths{Kmsg: file}, "").KernelLog()
	if _, _, _, err := log.Poll(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	poll := func(what string, want int) {
		t.Helper()
		records, lost, whole, err := log.Poll()
		if err != nil || len(records) != want || lost || whole != (want > 0) {
			t.Errorf("%s: %d records, lost %v, whole %v, %v", what, len(records), lost, whole, err)
		}
	}
	write("[1.0] a\n", at)
	poll("first", 1)
	poll("the same", 0)
	write("[1.0] a\n", at.Add(time.Second))
	poll("another time", 1)
	write("[1.0] a\n[2.0] b\n", at.Add(time.Second))
	poll("another size", 2)
	log.Rewind()
	poll("rewound", 2)
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 2<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := log.Poll(); err == nil {
		t.Error("a line without end is read")
	}
}

// A write that fails half-way is an error.
func TestWriteAttrFails(t *testing.T) {
	h := New(DefaultPaths(), "")
	if err := h.WriteAttr(t.Context(), "/dev/full", "1"); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

// What the device answers, record by record.
func TestPollOfADevice(t *testing.T) {
	type answer struct {
		text string
		err  error
	}
	record := func(seq int) answer { return answer{fmt.Sprintf("6,%d,1,-;text", seq), nil} }
	end, lostSome := answer{err: unix.EAGAIN}, answer{err: unix.EPIPE}
	for name, c := range map[string]struct {
		answers []answer
		records int
		lost    bool
		err     error
	}{
		"from the first record on":   {[]answer{record(0), record(1), end}, 2, false, nil},
		"the first ones are gone":    {[]answer{record(5), end}, 1, true, nil},
		"empty":                      {[]answer{end}, 0, false, nil},
		"overwritten while it reads": {[]answer{record(0), lostSome, record(9), end}, 2, true, nil},
		"interrupted by a signal":    {[]answer{{err: unix.EINTR}, record(0), end}, 1, false, nil},
		"the end of a file":          {[]answer{record(0), {}, record(1)}, 1, false, nil},
		"broken":                     {[]answer{record(0), {err: unix.EIO}}, 1, false, unix.EIO},
		"not a record":               {[]answer{{text: "x"}, record(0), end}, 1, true, nil},
	} {
		// A device that can be opened, which says nothing by itself.
		log := New(Paths{Kmsg: "/dev/null"}, "").KernelLog()
		log.read = func(_ *os.File, buf []byte) (int, error) {
			if len(c.answers) == 0 {
				t.Errorf("%s: it reads on", name)
				return 0, unix.EIO
			}
			next := c.answers[0]
			c.answers = c.answers[1:]
			return copy(buf, next.text), next.err
		}
		records, lost, whole, err := log.Poll()
		if name == "not a record" {
			lost = true // whether the first one was lost cannot be told
		}
		if len(records) != c.records || lost != c.lost || !whole || !errors.Is(err, c.err) {
			t.Errorf("%s: %d records, lost %v, whole %v, %v", name, len(records), lost, whole, err)
		}
		c.answers = []answer{record(0), end}
		if records, _, whole, err := log.Poll(); len(records) != 1 || whole || err != nil {
			t.Errorf("%s, again: %d records, whole %v, %v", name, len(records), whole, err)
		}
		log.Close()
	}
	if _, err := readDevice(nil, nil); err == nil {
		t.Error("a device that is not open is read")
	}
	closed, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if _, err := readDevice(closed, nil); err == nil {
		t.Error("a closed device is read")
	}
	log := New(Paths{Kmsg: "/dev/tty"}, "").KernelLog()
	if _, _, _, err := log.Poll(); err == nil {
		t.Log("this process has a terminal")
	}
}

func TestMulticastErrors(t *testing.T) {
	if _, err := NewMulticast(nil, 9999); err == nil {
		t.Error("a protocol that there is not")
	}
	before, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := NewMulticast(nil, unix.NETLINK_ROUTE, 1<<20); err == nil || m != nil && m.file != nil {
		t.Errorf("a group that there is not: %v", err)
	}
	if after, err := os.ReadDir("/proc/self/fd"); err != nil || len(after) > len(before) {
		t.Errorf("%d files are open, %d before: %v", len(after), len(before), err)
	}
	m, err := NewMulticast(nil, unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Each(ctx, 0, nil, func() { t.Error("changed") }); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	m.Close()
	if err := m.Each(t.Context(), 0, nil, func() { t.Error("changed") }); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("closed: %v", err)
	}
}

func TestInNetNSThatIsNone(t *testing.T) {
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := InNetNS(file, func() error { t.Error("it runs"); return nil }); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		t.Errorf("got %v", err)
	}
	if _, err := New(DefaultPaths(), "").Run(t.Context(), Cmd{Name: "true", NetNS: file}); err == nil {
		t.Error("a program runs in a namespace that is none")
	}
}
