package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	apiv1 "labd/api/v1"
	"labd/internal/printable"
)

var update = flag.Bool("update", false, "write the golden files")

// answers is a labd that knows its answers by heart.
type answers map[string]any

func (a answers) start(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "labd.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := a[r.Method+" "+r.URL.RequestURI()]
		if serve, isHandler := body.(http.HandlerFunc); isHandler {
			serve(w, r)
			return
		}
		if !ok && r.URL.Path == "/v1/events" { // an older labd, or one with clients enough
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if !ok {
			t.Errorf("unexpected request %s %s", r.Method, r.URL.RequestURI())
		}
		if e, ok := body.(apiv1.ErrorDetail); ok {
			w.WriteHeader(http.StatusConflict)
			body = apiv1.ErrorBody{Error: e}
		}
		_ = json.NewEncoder(w).Encode(body)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket
}

// labctl runs one command against socket.
func labctl(t *testing.T, socket string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), "1.2.3", append([]string{"--socket", socket}, args...), Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	return code, out.String(), errs.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got:\n%s", file, diff)
	}
}

func envelopeOf[T any](kind string, items []T, findings ...apiv1.Finding) apiv1.Envelope[T] {
	if findings == nil {
		findings = []apiv1.Finding{}
	}
	return apiv1.Envelope[T]{APIVersion: apiv1.APIVersion, Kind: kind, Node: "pve1", ObservedAt: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), Items: items, Findings: findings}
}

var drives = envelopeOf(apiv1.KindNVMeReport, []apiv1.NVMeItem{
	{
		ID: "nvme/0000:01:00.0", Rung: "ok", Verdict: "ok", PCIID: "1e4b:1602", Driver: "nvme", Controller: "nvme0", State: "live",
		Model: "Fanxiang S790 4TB", Serial: "FX1", Firmware: "1.0", Findings: []string{},
		Namespaces: []apiv1.NVMeNamespace{{Device: "nvme0n1", NSID: 1, SizeBytes: 4000787030016, Users: []string{"mount /tank"}}},
		Link:       &apiv1.PCILink{CurrentSpeed: "16.0 GT/s PCIe", CurrentWidth: 4},
	},
	{
		ID: "nvme/0000:02:00.0", Rung: "driver", Verdict: "fail", PCIID: "1d97:1602", Vendor: "Shenzhen Longsys", Chip: "MAP1602",
		Namespaces: []apiv1.NVMeNamespace{}, Findings: []string{"nvme.not-ready"},
	},
}, apiv1.Finding{
	Code: "nvme.not-ready", Severity: apiv1.SeverityFail, Subject: "nvme/0000:02:00.0", Title: "the controller never became ready",
	Cause: "the kernel takes a ready time of 0 for a promise", Confidence: "certain",
	Evidence: []apiv1.Evidence{{Source: "kernel log", Text: "nvme nvme1: Device not ready\x1b]0;owned\x07"}},
	Remedies: []apiv1.Remedy{{Title: "install a newer kernel", Risk: "low", Commands: []string{"apt install proxmox-kernel-6.8"}}},
})

func TestCheckNVMe(t *testing.T) {
	socket := answers{"GET /v1/nvme?fresh=1": drives}.start(t)
	for _, tt := range []struct {
		name string
		args []string
		code int
	}{
		{"nvme-table", []string{"check-nvme"}, ExitFail},
		{"nvme-wide", []string{"check-nvme", "-o", "wide"}, ExitFail},
		{"nvme-json", []string{"check-nvme", "--output-format", "json-pretty"}, ExitFail},
		{"nvme-yaml", []string{"check-nvme", "-o", "yaml"}, ExitFail},
		{"nvme-name", []string{"check-nvme", "-o", "name"}, ExitFail},
		{"nvme-one", []string{"check-nvme", "nvme0n1"}, ExitOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := labctl(t, socket, tt.args...)
			if code != tt.code || stderr != "" {
				t.Errorf("exit %d, want %d; stderr %q", code, tt.code, stderr)
			}
			if strings.ContainsAny(stdout, "\x1b\x07") {
				t.Errorf("a control character of foreign text reached the terminal:\n%q", stdout)
			}
			golden(t, tt.name, stdout)
		})
	}
	if code, _, stderr := labctl(t, socket, "check-nvme", "nvme7"); code != ExitError || !strings.Contains(stderr, `"nvme7"`) {
		t.Errorf("unknown drive: exit %d, %q", code, stderr)
	}
}

// A kernel that refuses a drive is a failure, whatever the drives do now.
func TestPredictions(t *testing.T) {
	other := drives
	other.Items = slices.Clone(drives.Items)
	other.Items[0].Prediction = &apiv1.NVMePrediction{Kernel: "6.2.16-3-pve", Outcome: "not-ready", Reason: "that kernel has the bug with ready times", Confidence: "likely"}
	other.Items[1].Prediction = &apiv1.NVMePrediction{Kernel: "6.2.16-3-pve", Outcome: "recognised", Reason: "fine", Confidence: "likely"}
	socket := answers{"GET /v1/nvme?fresh=1&kernel=6.2.16-3-pve": other}.start(t)
	code, stdout, _ := labctl(t, socket, "check-nvme", "--kernel", "6.2.16-3-pve")
	golden(t, "nvme-kernel", stdout)
	if code != ExitFail {
		t.Errorf("exit %d", code)
	}
	if code, _, _ := labctl(t, socket, "check-nvme", "--kernel", "6.2.16-3-pve", "0000:02:00.0"); code != ExitOK {
		t.Errorf("only the drive that works: exit %d", code)
	}
}

func TestConfig(t *testing.T) {
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.Local)
	item := apiv1.ConfigItem{File: "/etc/labd/labd.toml", LoadedAt: at, TriedAt: at.Add(time.Hour), Error: "/etc/labd/labd.toml:2: unknown key \"storage.grase\"", Text: "[storage]\ngrace = '72h0m0s'\n"}
	socket := answers{"GET /v1/config": envelopeOf(apiv1.KindConfigReport, []apiv1.ConfigItem{item})}.start(t)
	code, stdout, stderr := labctl(t, socket, "config")
	if code != ExitOK || stderr != "" {
		t.Errorf("exit %d; stderr %q", code, stderr)
	}
	golden(t, "config", stdout)
}

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  apiv1.ErrorDetail
		want int
	}{
		{"internal", apiv1.ErrorDetail{Code: apiv1.ErrorInternal, Message: "m"}, 1},
		{"usage", apiv1.ErrorDetail{Code: apiv1.ErrorUsage, Message: "m"}, 2},
		{"refused", apiv1.ErrorDetail{Code: apiv1.ErrorRefused, Message: "m", Hint: "h"}, 5},
		{"not permitted", apiv1.ErrorDetail{Code: apiv1.ErrorNotPermitted, Message: "m"}, 6},
		{"changed", apiv1.ErrorDetail{Code: apiv1.ErrorChanged, Message: "m"}, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			socket := answers{"POST /v1/plans": tt.err}.start(t)
			code, _, stderr := labctl(t, socket, "net", "apply", "--yes", "-o", "json")
			var body apiv1.ErrorBody
			if err := json.Unmarshal([]byte(stderr), &body); err != nil || code != tt.want || body.Error != tt.err {
				t.Errorf("exit %d, want %d; stderr %s", code, tt.want, stderr)
			}
		})
	}
}

func TestWrongUsage(t *testing.T) {
	socket := answers{}.start(t)
	for _, args := range [][]string{{"nonsense"}, {"status", "extra"}, {"status", "-o", "xml"}, {"undo"}, {"undo", "1", "2"}, {"status", "--nonsense"}, {"status", "--timeout", "-1s"}} {
		if code, _, stderr := labctl(t, socket, args...); code != ExitUsage || stderr == "" {
			t.Errorf("%q: exit %d, stderr %q", args, code, stderr)
		}
	}
}

func TestConsent(t *testing.T) {
	p := envelopeOf(apiv1.KindPlan, []apiv1.Plan{{Title: "Make routes", Digest: "d1", Steps: []apiv1.PlanStep{{Title: "Add a route", How: "netlink", Verify: "it is there", Undo: "delete it", Risk: "low", Undoable: true}}}})
	done := envelopeOf(apiv1.KindJournalReport, []apiv1.JournalItem{{ID: "7", State: "applied", Steps: 1, StepsDone: 1, Undoable: true}})
	socket := answers{"POST /v1/plans": p, "POST /v1/plans/apply": done}.start(t)
	code, stdout, stderr := labctl(t, socket, "net", "apply")
	if code != ExitRefused || !strings.Contains(stderr, "--yes") || !strings.Contains(stdout, "Add a route") {
		t.Errorf("without a terminal: exit %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, _ = labctl(t, socket, "net", "apply", "--yes")
	if code != ExitOK {
		t.Errorf("with --yes: exit %d", code)
	}
	golden(t, "net-apply", stdout)
}

func TestStorage(t *testing.T) {
	past := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	removal := &apiv1.Plan{Title: "Remove storage usb1", Digest: "d", Steps: []apiv1.PlanStep{{Title: "Remove the entry", How: "DELETE", Verify: "gone", Risk: "low"}}}
	gone := apiv1.StorageItem{ID: "storage/pve1/usb1", Storage: "usb1", Type: "dir", Verdict: "gone", Reason: "the device is gone", References: []apiv1.Reference{}, Findings: []string{"storage.device-gone"}, Plan: removal}
	due := gone
	due.CandidateAt = &past
	finding := apiv1.Finding{Code: "storage.device-gone", Severity: apiv1.SeverityFail, Subject: gone.ID, Title: "its device is gone", Confidence: "certain", Cause: "pulled"}
	done := envelopeOf(apiv1.KindJournalReport, []apiv1.JournalItem{{ID: "1", Steps: 1, StepsDone: 1}})

	socket := answers{"GET /v1/storage?fresh=1": envelopeOf(apiv1.KindStorageReport, []apiv1.StorageItem{gone}, finding)}.start(t)
	code, stdout, _ := labctl(t, socket, "fix-storage")
	if code != ExitOK || !strings.Contains(stdout, "labctl fix-storage usb1") {
		t.Errorf("within the grace time a bare fix-storage must do nothing: exit %d\n%s", code, stdout)
	}
	if code, _, _ := labctl(t, socket, "fix-storage", "--dry-run"); code != ExitFail {
		t.Errorf("dry run: exit %d, want %d", code, ExitFail)
	}
	if code, _, stderr := labctl(t, socket, "fix-storage", "nope"); code != ExitError || !strings.Contains(stderr, "nope") {
		t.Errorf("unknown storage: exit %d %q", code, stderr)
	}
	socket = answers{
		"GET /v1/storage?fresh=1": envelopeOf(apiv1.KindStorageReport, []apiv1.StorageItem{due}, finding),
		"POST /v1/plans":          envelopeOf(apiv1.KindPlan, []apiv1.Plan{*removal}), "POST /v1/plans/apply": done,
	}.start(t)
	if code, stdout, _ := labctl(t, socket, "fix-storage", "--yes"); code != ExitOK || !strings.Contains(stdout, "Done: 1 of 1") {
		t.Errorf("due: exit %d\n%s", code, stdout)
	}
}

func TestSocketThatDoesNotAnswer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "labd.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	code, _, stderr := labctl(t, socket, "status", "--timeout", "50ms")
	if code != ExitUnreachable || strings.Contains(stderr, "started for this command") {
		t.Errorf("exit %d, stderr %q; want %d and no labd of its own", code, stderr, ExitUnreachable)
	}
}

func TestInterrupted(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "labd.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if conn, err := listener.Accept(); err == nil {
			defer conn.Close()
			cancel()
			<-t.Context().Done()
		}
	}()
	var out, errs bytes.Buffer
	if code := Run(ctx, "x", []string{"--socket", socket, "status"}, Streams{strings.NewReader(""), &out, &errs}); code != ExitInterrupted {
		t.Errorf("exit %d, want %d; %s", code, ExitInterrupted, &errs)
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"Samsung SSD 990 PRO": "Samsung SSD 990 PRO",
		"größe":               "größe",
		"\x1b[31mred":         `\x1b[31mred`,
		"bad\xffbyte":         `bad\xffbyte`,
		"c1\u009b31m":         `c1\u009b31m`,
		"rtl\u202eevil":       `rtl\u202eevil`,
		"two\nlines":          `two\x0alines`,
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("\x1b[31m\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if got := escape(s); strings.ContainsFunc(got, printable.Unsafe) {
			t.Errorf("escape(%q) = %q", s, got)
		}
		var b bytes.Buffer
		writeJSON(&b, s)
		if strings.ContainsFunc(strings.ReplaceAll(b.String(), "\n", ""), func(r rune) bool { return r != '\uFFFD' && printable.Unsafe(r) }) {
			t.Errorf("writeJSON(%q) = %q", s, &b)
		}
	})
}

// A file that cannot be opened is no silence of labd's, though every errno is a net.Error.
func TestErrorsOfFilesAndSockets(t *testing.T) {
	_, noFile := os.Open(filepath.Join(t.TempDir(), "none"))
	_, noSocket := net.Dial("unix", filepath.Join(t.TempDir(), "none"))
	for _, tt := range []struct {
		err  error
		want string
	}{
		{noFile, apiv1.ErrorInternal},
		{fmt.Errorf("read it: %w", &os.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}), apiv1.ErrorInternal},
		{noSocket, apiv1.ErrorUnreachable},
		{&url.Error{Op: "Get", URL: "http://labd/", Err: context.DeadlineExceeded}, apiv1.ErrorUnreachable},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)}, apiv1.ErrorNotPermitted},
	} {
		if got := (&app{}).toError(t.Context(), tt.err); got.Code != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got.Code, tt.want)
		}
	}
}
