package disk

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"labd/internal/host"
)

func parseLog(t *testing.T, data string) []Event {
	t.Helper()
	records, _, err := host.ParseDmesg(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	p := newLogParser(nil)
	for _, rec := range records {
		p.add(rec)
	}
	return p.events
}

// Kernel logs of a real 6.1; the expected events are what happened to the drives.
func TestRecordedLogs(t *testing.T) {
	for file, want := range map[string][]string{
		"nvme-not-ready-6.1.log":         {"0000:00:01.0 not-ready", "0000:00:01.0 probe-failed"},
		"nvme-duplicate-ignored-6.1.log": {"0000:00:01.0 ids-rejected"},
		"nvme-duplicate-cleared-6.1.log": {"0000:00:01.0 ids-cleared"},
		"nvme-io-timeout-6.1.log":        {"0000:00:02.0 timeout", "0000:00:02.0 io-error"},
		"nvme-bogus-nid-quirk-6.1.log":   nil,
	} {
		t.Run(file, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range parseLog(t, string(data)) {
				if e.Kind != EventFound && e.Kind != EventReady && e.Kind != EventOther {
					got = append(got, e.Address+" "+string(e.Kind))
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Wordings of kernels that no log was recorded of.
func TestWordings(t *testing.T) {
	for text, want := range map[string]EventKind{
		"Device not ready; aborting initialisation, CSTS=0x0":                                      EventNotReady,
		"Device not ready; aborting reset, CSTS=0x1":                                               EventNotReady,
		"globally duplicate IDs for nsid 1":                                                        EventIDsRejected,
		"duplicate IDs for nsid 1":                                                                 EventIDsTwice,
		"duplicate IDs in subsystem for nsid 2":                                                    EventIDsTwice,
		"controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff":                       EventDown,
		"controller is down; will reset: CSTS=0xffffffff, PCI_STATUS read failed (134)":            EventDown,
		"I/O 512 (I/O Cmd) QID 2 timeout, aborting":                                                EventTimeout,
		"I/O 8 QID 0 timeout, completion polled":                                                   EventTimeout,
		"I/O tag 256 (1100) opcode 0x2 (I/O Cmd) QID 1 timeout, aborting req_op:READ(0) size:4096": EventTimeout,
		"I/O tag 12 (100c) QID 0 timeout, disable controller":                                      EventTimeout,
		"Disabling device after reset failure: -19":                                                EventDisabled,
		"error -ENODEV: probe failed":                                                              EventProbeFailed,
		"Unable to change power state from D3cold to D0, device inaccessible":                      EventInaccessible,
		"bad crto:0 cap:800003028033fff":                                                           EventBogusCRTO,
		"resetting controller due to persistent internal error":                                    EventInternalError,
		"resetting controller due to AER":                                                          EventInternalError,
		"Fw activation timeout, reset controller":                                                  EventInternalError,
		"failed to allocate host memory buffer.":                                                   EventNoHostMemory,
		"min host memory (200 MiB) above limit (128 MiB).":                                         EventNoHostMemory,
		"failed to set host mem (err 2, flags 0x1).":                                               EventNoHostMemory,
		"Identify Descriptors failed (nsid=1, status=0x4002)":                                      EventIdentifyFailed,
		"Identify NS List failed (status=0x2)":                                                     EventIdentifyFailed,
		"Identify namespace failed (-5)":                                                           EventIdentifyFailed,
		"invalid LBA data size 3, skipping namespace":                                              EventBlockSize,
		"Refused to change power state from D3hot to D0":                                           EventPowerRefused,
		"allocated 40 MiB host memory buffer.":                                                     "",
	} {
		events := parseLog(t, "[    1.0] nvme nvme3: pci function 0000:05:00.0\n[    2.0] nvme nvme3: "+text+"\n")
		got := EventKind("")
		if len(events) == 2 {
			got = events[1].Kind
			if events[1].Address != "0000:05:00.0" {
				t.Errorf("%q belongs to %q", text, events[1].Address)
			}
		}
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// A controller number that is given out anew belongs to its new function from then on.
func TestControllerNumberReused(t *testing.T) {
	events := parseLog(t, `[    1.0] nvme nvme0: pci function 0000:01:00.0
[    2.0] nvme nvme0: Device not ready; aborting initialisation, CSTS=0x0
[   60.0] nvme nvme0: pci function 0000:02:00.0
[   61.0] nvme nvme0: Device not ready; aborting initialisation, CSTS=0x3
[   62.0] usb 1-1: nvme nvme0: Device not ready; aborting initialisation, CSTS=0x0
`)
	var got []string
	for _, e := range events {
		if e.Kind == EventNotReady {
			got = append(got, e.Address+e.Text[len(e.Text)-3:])
		}
	}
	if diff := cmp.Diff([]string{"0000:01:00.00x0", "0000:02:00.00x3"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEventsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("[    1.0] nvme nvme0: pci function 0000:01:00.0\n[    1.5] nvme nvme1: pci function 0000:02:00.0\n")
	for range 10 * maxEvents {
		b.WriteString("[    2.0] nvme nvme0: I/O 1 QID 1 timeout, aborting\n")
	}
	events := parseLog(t, b.String())
	if len(events) != maxEvents+2 {
		t.Errorf("%d events kept", len(events))
	}
	if events[0].Address != "0000:01:00.0" || events[1].Address != "0000:02:00.0" {
		t.Error("a noisy drive drove out its own events of another kind, or those of another drive")
	}
}

// Every format string of the kernel about ids, readiness and time-outs is recognised. The list is a third party's.
func TestKernelFormats(t *testing.T) {
	dir := os.Getenv("LABD_FIXTURES")
	if dir == "" {
		t.Skip("LABD_FIXTURES names no directory of third-party samples")
	}
	f, err := os.Open(filepath.Join(dir, "nvme_printk.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fill := strings.NewReplacer("%d", "1", "%u", "1", "%s", "READ", "%#x", "0x2", "%04x", "1002", "%x", "0", "%hx", "10", "%llx", "0", `\n`, "")
	checked := 0
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		for _, column := range strings.Split(scanner.Text(), "\t") {
			about := strings.Contains(column, "duplicate IDs") || strings.Contains(column, "timeout, ") && strings.HasPrefix(column, "I/O ")
			if !about {
				continue
			}
			checked++
			text := strings.TrimSpace(strings.Split(fill.Replace(column), `\n`)[0])
			if events := parseLog(t, "[    2.0] nvme nvme3: "+text+"\n"); len(events) != 1 {
				t.Errorf("not recognised: %q", text)
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d formats found", checked)
	}
}

func FuzzLog(f *testing.F) {
	f.Add("[    1.0] nvme nvme0: pci function 0000:01:00.0\n[    2.0] nvme nvme0: Device not ready; aborting initialisation, CSTS=0x0\n")
	f.Fuzz(func(t *testing.T, text string) {
		records, _, _ := host.ParseDmesg(strings.NewReader(text))
		p := newLogParser(nil)
		for _, rec := range records {
			p.add(rec)
		}
		for _, e := range p.events {
			if e.Kind == "" || e.Address == "" && e.Controller == "" {
				t.Errorf("impossible event %+v", e)
			}
		}
	})
}

func BenchmarkLog(b *testing.B) {
	line := "<6>[    2.351883] usb 1-1: new high-speed USB device number 2 using xhci_hcd\n"
	text := strings.Repeat(line, (1<<20)/len(line)) + "<3>[    2.351883] nvme nvme1: Device not ready; aborting initialisation, CSTS=0x0\n"
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		records, _, _ := host.ParseDmesg(strings.NewReader(text))
		p := newLogParser(nil)
		for _, rec := range records {
			p.add(rec)
		}
	}
}
