package config

import (
	_ "embed"
	"fmt"
	"os"

	"github.com/pelletier/go-toml/v2"
)

//go:embed reference.toml
var reference string

// Reference is a configuration file that names every key with its default and says what it does. A test keeps it
// complete and equal to the defaults.
func Reference() string { return reference }

// Text writes c as a configuration file with every key. There is nothing to mask in it: no key holds a secret, only
// the names of files that do (keys that end in _file), and Parse refuses an address with a password.
func (c Config) Text() (string, error) {
	text, err := toml.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	return string(text), nil
}

// SecretFiles are sentences about files that hold secrets and are missing or open to others than root.
func (c Config) SecretFiles() []string {
	var problems []string
	files := []struct{ key, file string }{{"pve.token_file", c.PVE.TokenFile}}
	for _, file := range c.Notify.WebhookFiles {
		files = append(files, struct{ key, file string }{"notify.webhook_files", file})
	}
	for _, f := range files {
		if f.file == "" {
			continue
		}
		info, err := os.Stat(f.file)
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("key %q: %v", f.key, err))
		case info.Mode().Perm()&0o077 != 0:
			problems = append(problems, fmt.Sprintf("key %q: %s can be read by others than its owner; chmod 0600 %s", f.key, f.file, f.file))
		}
	}
	return problems
}
