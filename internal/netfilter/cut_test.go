package netfilter

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Rules that were cut off, at any byte, are never taken for all of them.
func TestCutRulesAreNoRules(t *testing.T) {
	files, err := filepath.Glob("testdata/*.save")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := ParseSave(data)
		if err != nil {
			t.Fatal(err)
		}
		for n := range data {
			// What ends with a table's COMMIT looks like a shorter answer; iptables-save prints all tables or fails.
			if rest := bytes.TrimSpace(data[:n]); len(rest) == 0 || bytes.HasSuffix(rest, []byte("\nCOMMIT")) || rest[bytes.LastIndexByte(rest, '\n')+1] == '#' {
				continue
			}
			got, err := ParseSave(data[:n])
			if err == nil {
				t.Fatalf("%s cut after %d of %d bytes has %d tables of %d", file, n, len(data), len(got.Tables), len(whole.Tables))
			}
		}
	}
	for _, text := range []string{"*filter\n:INPUT DROP [0:0]\n*nat\nCOMMIT\n", "*filter\n", "*filter\n:INPUT DROP [0:0]\n" + strings.Repeat("x", 10) + "\nCOMMIT\n"} {
		if _, err := ParseSave([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
