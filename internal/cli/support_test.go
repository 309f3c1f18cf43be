package cli

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "labd/api/v1"
)

// fill gives every string below value a text of its own, made by text from the way to it, and every list one item.
func fill(value any, text func(path string) string) {
	fillIn(reflect.ValueOf(value).Elem(), "", text)
}

func fillIn(v reflect.Value, path string, text func(string) string) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text(path))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillIn(v.Elem(), path, text)
	case reflect.Struct:
		for i := range v.NumField() {
			fillIn(v.Field(i), path+"."+v.Type().Field(i).Name, text)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillIn(v.Index(0), path, text)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	}
}

// supportAnswers are a labd whose answers have text everywhere.
func supportAnswers(text func(path string) string) answers {
	r := &supportReports{}
	for name, report := range map[string]any{
		"status": &r.status, "nvme": &r.nvme, "storage": &r.storage, "networks": &r.networks, "history": &r.history, "journal": &r.journal,
		"targets": &r.targets, "config": &r.config,
	} {
		fill(report, func(path string) string { return text("." + name + path) })
	}
	for _, node := range []*string{&r.status.Node, &r.nvme.Node} {
		*node = "pve1"
	}
	return answers{
		"GET /v1/version": apiv1.Version{Labd: "1.2.3", Kernel: "6.8"}, "GET /v1/status?fresh=1": r.status, "GET /v1/nvme": r.nvme,
		"GET /v1/storage": r.storage, "GET /v1/networks": r.networks, "GET /v1/history": r.history, "GET /v1/journal": r.journal,
		"GET /v1/notifications": r.targets, "GET /v1/config": r.config,
	}
}

// unpack returns the files of a bundle, by name without the directory, and all of it in one piece.
func unpack(t *testing.T, file string) (files map[string]string, all string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for in := tar.NewReader(zip); ; {
		header, err := in.Next()
		if err == io.EOF {
			return files, all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(header.Name)] = string(data)
		all += header.Name + "\n" + string(data)
	}
}

// makeBundle runs labctl support and returns what is in the bundle.
func makeBundle(t *testing.T, a answers, args ...string) (files map[string]string, all string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	code, out, errs := labctl(t, a.start(t), append(append([]string{"support"}, args...), file)...)
	if code != ExitOK {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	files, all = unpack(t, file)
	if !strings.Contains(out, files["MANIFEST.txt"]) {
		t.Errorf("what is printed is not the manifest:\n%s", out)
	}
	return files, all + out
}

// The fields of labd's answers that get into a bundle are those of the golden file: whoever adds one sees it there.
func TestSupportFields(t *testing.T) {
	_, all := makeBundle(t, supportAnswers(func(path string) string { return "<" + path + ">" }))
	found := regexp.MustCompile(`<\.[A-Za-z.]+>`).FindAllString(all, -1)
	slices.Sort(found)
	golden(t, "support-fields", strings.Join(slices.Compact(found), "\n")+"\n")
}

// What has no tag is left out, and all below it, whatever has one there.
func TestSupportValue(t *testing.T) {
	type inner struct {
		Shown  string `json:"shown" support:"yes"`
		Hidden string `json:"hidden"`
	}
	value := struct {
		List   []inner          `json:"list" support:"yes"`
		Map    map[string]inner `json:"map" support:"yes"`
		Any    any              `json:"any" support:"yes"`
		Inner  inner            `json:"inner"`
		Empty  string           `json:"empty,omitempty" support:"yes"`
		Number *int             `json:"number" support:"yes"`
	}{List: []inner{{"a", "b"}}, Map: map[string]inner{"k": {"c", "d"}}, Any: inner{"e", "f"}, Inner: inner{"g", "h"}}
	data, err := json.Marshal(supportValue(reflect.ValueOf(value)))
	if want := `{"list":[{"shown":"a"}],"map":null,"any":null,"number":null}`; err != nil || string(data) != want {
		t.Errorf("%s, want %s (%v)", data, want, err)
	}
}

// planted are secrets in the forms in which they come, each with what must not be left of it.
var planted = map[string]string{
	"labd@pve!labd=9f2c7e1a-1111-2222-3333-444455556666":                                     "9f2c7e1a",
	"PBSAPIToken=backup@pbs!host:deadbeef-1111-2222-3333-444455556666":                       "deadbeef",
	`{"kdf":null,"data":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}`: "c2VjcmV0",
	"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----":                 "MIIEvQ",
	"encryption-key: hunter2-key":                                                            "hunter2-key",
	"password=hunter2-pass, then":                                                            "hunter2-pass",
	`"client_secret": "hunter2-s"`:                                                           "hunter2-s",
	"https://user:hunter2-url@nas.lan/share":                                                 "hunter2-url",
	"telegram://123456:AAF-hunter2@telegram?chats=1":                                         "AAF-hunter2",
	"Authorization: Bearer hunter2.bearer.token":                                             "hunter2.bearer",
	"PVEAuthCookie=PVE:root@pam:66A1B2C3::hunter2ticket":                                     "hunter2ticket",
}

func TestSupportHoldsNoSecret(t *testing.T) {
	for secret, left := range planted {
		files, all := makeBundle(t, supportAnswers(func(string) string { return "before " + secret + " after" }))
		for name, data := range files {
			if strings.Contains(data, left) {
				t.Errorf("%s holds %q of %q", name, left, secret)
			}
		}
		if !strings.Contains(all, "before ") {
			t.Errorf("nothing is left of %q", secret)
		}
	}
}

// What scrub is not to take: what makes the report worth reading.
func TestScrubLeavesTheRest(t *testing.T) {
	for _, text := range []string{
		"nvme nvme1: Device not ready; aborting initialisation, CSTS=0x0", "/sys/devices/pci0000:00/0000:00:1c.0/0000:01:00.0/nvme/nvme0",
		"no device has the UUID 4d5e1f7e-0000-4c1d-9a51-3b1c7e1f2a3b", "-d 172.18.0.0/16 -m comment --comment labd:101:web_default -j ACCEPT",
		"storage 'nas' is not online", "token_file = '/etc/labd/token'", "ext4 on /dev/disk/by-id/nvme-Samsung_SSD_990_PRO_2TB_S73W",
	} {
		if got := scrub(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestSupportRedact(t *testing.T) {
	const serial, uuid, wwid = "FXS790234200311", "4d5e1f7e-0000-4c1d-9a51-3b1c7e1f2a3b", "eui.0025385b71b0a1c2"
	a := supportAnswers(func(path string) string {
		switch {
		case strings.HasSuffix(path, "Serial"):
			return serial
		case strings.HasSuffix(path, "WWID"):
			return wwid
		case strings.HasSuffix(path, "config.Items.Text"):
			return "[listen]\nhosts = ['mon.example.org']\n[notify]\nmail_to = ['ana@example.org']\ngrace = '2m'\n"
		}
		return "storage/pve1/x " + serial + " " + uuid
	})
	_, all := makeBundle(t, a, "--redact")
	for _, secret := range []string{serial, uuid, wwid, "pve1", "ana@example.org", "mon.example.org"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is left", secret)
		}
	}
	for _, kept := range []string{"storage/NODE/x SERIAL-1 ID", "grace = '2m'", `"redacted": true`} {
		if !strings.Contains(all, kept) {
			t.Errorf("%q is not there", kept)
		}
	}
}

// A bundle stays small, whatever labd answers, and says what was left out.
func TestSupportSize(t *testing.T) {
	a := supportAnswers(func(path string) string { return "x" })
	big := envelopeOf(apiv1.KindHistoryReport, []apiv1.HistoryItem{})
	for range 12 {
		big.Items = append(big.Items, apiv1.HistoryItem{Title: strings.Repeat("long title ", 30000)})
	}
	a["GET /v1/history"] = big
	files, _ := makeBundle(t, a)
	if size := len(files["history.json"]); size > maxSupportFile+1 || size < 1000 {
		t.Errorf("history.json has %d bytes", size)
	}
	if !strings.Contains(files["MANIFEST.txt"], "items left out") {
		t.Errorf("the manifest does not say so:\n%s", files["MANIFEST.txt"])
	}
}

// A part that labd does not answer is named; a file that is there is not touched.
func TestSupportFailures(t *testing.T) {
	a := supportAnswers(func(string) string { return "x" })
	a["GET /v1/storage"] = apiv1.ErrorDetail{Code: apiv1.ErrorInternal, Message: "no storage.cfg, password=hunter2"}
	files, all := makeBundle(t, a)
	if !strings.Contains(files["MANIFEST.txt"], "missing: /v1/storage: no storage.cfg") || strings.Contains(all, "hunter2") {
		t.Errorf("manifest:\n%s", files["MANIFEST.txt"])
	}
	file := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := labctl(t, a.start(t), "support", file); code != ExitError || !strings.Contains(errs, "exists") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if data, _ := os.ReadFile(file); string(data) != "mine" {
		t.Error("the file was overwritten")
	}
	if code, out, _ := labctl(t, a.start(t), "support", "-"); code != ExitOK || !strings.HasPrefix(out, "\x1f\x8b") {
		t.Errorf("exit %d, %q", code, fmt.Sprintf("%.10s", out))
	}
}
