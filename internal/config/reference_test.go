package config

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var keyPattern = regexp.MustCompile(`^([a-z_]+)\s*=`)

// The reference is a valid configuration of the default values that names every key.
func TestReference(t *testing.T) {
	cfg, err := Parse("labd.toml", []byte(Reference()))
	if err != nil {
		t.Fatalf("the reference is refused: line %v", err)
	}
	if diff := cmp.Diff(fmt.Sprint(Default()), fmt.Sprint(cfg)); diff != "" {
		t.Errorf("the reference does not show the defaults, -want +got:\n%s", diff)
	}
	named := map[string]bool{}
	section := ""
	for line := range strings.Lines(Reference()) {
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(strings.TrimSpace(line), "[]")
			named[section] = true
		} else if m := keyPattern.FindStringSubmatch(line); m != nil {
			named[section+"."+m[1]] = true
		}
	}
	for _, key := range Keys() {
		if !named[key] {
			t.Errorf("internal/config/reference.toml does not name %s", key)
		}
	}
}

// What Text writes is read back as the same configuration.
func TestTextIsAConfiguration(t *testing.T) {
	cfg, err := Parse("labd.toml", []byte("[storage]\ngrace = \"5h\"\n[network]\nfrom = [\"10.0.0.0/8\"]\n[pve]\nnode = \"n1\"\ntoken_file = \"/etc/labd/token\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := cfg.Text()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("labd.toml", []byte(text))
	if err != nil {
		t.Fatalf("line %v in:\n%s", err, text)
	}
	if diff := cmp.Diff(fmt.Sprint(cfg), fmt.Sprint(again)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.Contains(text, "token_file = '/etc/labd/token'") {
		t.Errorf("the effective configuration does not name the token's file:\n%s", text)
	}
}

// labctl config shows all keys to every reader: a secret is named by a file, never written into the configuration.
func TestSecretsAreNamedByFile(t *testing.T) {
	secret := regexp.MustCompile(`token|secret|password|webhook|credential|apikey`)
	for _, key := range Keys() {
		last := key[strings.LastIndexByte(key, '.')+1:]
		if secret.MatchString(last) && !strings.HasSuffix(last, "_file") && !strings.HasSuffix(last, "_files") {
			t.Errorf("key %s looks like a secret and does not end in _file", key)
		}
	}
}
