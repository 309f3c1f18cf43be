package pve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What is worth knowing in each sample, as "line code effect section".
func TestHazardsOfSamples(t *testing.T) {
	want := map[string]string{
		"edge01-no-blank-line-between-sections":  "4 swallowed-section misreads usb1",
		"edge02-whitespace-only-separator":       "5 swallowed-section misreads usb1",
		"edge03-crlf":                            "5 swallowed-section misreads usb1",
		"edge04-blank-line-inside-section":       "7 detached-line misreads usb1; 8 detached-line misreads usb1",
		"edge05-missing-required-path":           "4 malformed-section blocks usb1",
		"edge06-glusterfs-removed-in-pve9":       "5 unknown-type loses Gluster",
		"edge07-duplicate-id-last-wins":          "0 injected-local harmless local; 1 duplicate-id loses usb1",
		"edge08-bad-ids":                         "0 injected-local harmless local; 1 bad-id loses a; 4 bad-id loses 1usb; 7 bad-id loses usb-; 10 ignored-line loses ; 11 ignored-line loses ",
		"edge09-uppercase-type-nospace-header":   "0 injected-local harmless local",
		"edge10-duplicate-attr-and-unknown-attr": "0 injected-local harmless local; 3 dropped-property loses usb1; 5 dropped-property loses usb1; 6 dropped-property loses usb1; 7 dropped-property loses usb1",
	}
	for _, file := range storageSamples(t, "testdata/storage_cfg/*.cfg") {
		name := strings.TrimSuffix(filepath.Base(file), ".cfg")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range ParseStorageConfig(data, StorageConfigOptions{}).Hazards(data) {
			got = append(got, fmt.Sprintf("%d %s %s %s", h.Line, h.Code, h.Effect, h.Section))
		}
		if diff := cmp.Diff(want[name], strings.Join(got, "; ")); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestHazardsElsewhere(t *testing.T) {
	const local = "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n"
	for in, want := range map[string]string{
		local:                                "",
		"# why\n" + local + "\t# and this\n": "PVE keeps no comments; 2 of them go with its next write",
		"\ufeff" + local: "the file has no local, so PVE makes one up (/var/lib/vz) and writes it\n" +
			"the file begins with a byte order mark, so PVE takes storage local for one of type dir, which it does not know, and drops it",
		"dir: local\n\tpath /data\n\tcontent iso\n":      "PVE puts its own local (/var/lib/vz) in the place of the one in the file, which has another type or path",
		local + "\ndir: usb1\n\tpath /x\n0\n\tdisable\n": "an empty line above ends storage usb1, so it is not switched off",
		local + "nonsense\n":                             "PVE ignores this line of storage local, which is not indented: nonsense",
		local + "\nlvm: l1\n\tvgname v1\n\tcontent images,iso\n": "PVE drops a value of storage l1: " +
			"storage does not support content type 'iso'",
		"dir: a1\n\tpath /x y\n\n" + local: "PVE rejects storage a1 (illegal path for directory storage: /x y) and keeps its ID without data: " +
			"adding, changing or removing any storage fails, and the list of storages too",
	} {
		var got []string
		for _, h := range ParseStorageConfig([]byte(in), StorageConfigOptions{}).Hazards([]byte(in)) {
			got = append(got, h.Text)
		}
		if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%q:\n%s", in, diff)
		}
	}
}

// The longest file that PVE takes, full of what it rejects, is read in no time:
// anyone who may ask labd may send one.
func TestHazardsOfALongFile(t *testing.T) {
	for name, line := range map[string]string{
		"duplicates": "\tpath /x\n", "headers": "d:aa\n",
	} {
		var b strings.Builder
		b.WriteString("dir: usb1\n")
		for b.Len() < 1<<20 {
			b.WriteString(line)
		}
		data := []byte(b.String())
		start := time.Now()
		hazards := ParseStorageConfig(data, StorageConfigOptions{}).Hazards(data)
		if took := time.Since(start); took > time.Minute || len(hazards) < 1000 {
			t.Errorf("%s: %d hazards in %s", name, len(hazards), took)
		}
	}
}
