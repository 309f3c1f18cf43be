package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestReadToken(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	named := write("token", "labd@pve!named=1\n")
	fallback := filepath.Join(dir, "default")
	for _, tt := range []struct {
		name, file, credential, fallback string
		want                             string
		none                             bool
	}{
		{"the file that is named wins", named, "labd@pve!credential=1", "labd@pve!default=1", "labd@pve!named=1", false},
		{"the default file, replaced after labd started", "", "labd@pve!credential=1\n", "labd@pve!default=1\n", "labd@pve!default=1", false},
		{"the credential", "", "labd@pve!credential=1\n", "", "labd@pve!credential=1", false},
		{"nothing", "", "", "\n", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(tokenCredential, tt.credential)
			write("default", tt.fallback)
			got, err := readToken(tt.file, dir, fallback)
			if got != tt.want || errors.Is(err, errNoToken) != tt.none {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	none := filepath.Join(dir, "none")
	if _, err := readToken("", "", none); !errors.Is(err, errNoToken) {
		t.Errorf("outside systemd: %v", err)
	}
	if _, err := readToken(none, dir, none); err == nil || errors.Is(err, errNoToken) {
		t.Errorf("a named file that is missing: %v", err)
	}
}
