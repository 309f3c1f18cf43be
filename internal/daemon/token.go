package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Where PVE's API token is when the configuration names no file: systemd's credential (systemd.exec(5),
// LoadCredential=), which may come encrypted, and the file that it is usually loaded from.
const (
	tokenCredential = "pve-token"
	tokenFile       = "/etc/labd/token"
)

// errNoToken says that labd was given no token.
var errNoToken = errors.New("no API token is configured and there is no pvesh: labctl setup pve makes one, or name its file in pve.token_file")

// readToken reads PVE's API token from the file that the configuration names; without one from the default file, or
// else from the credential. The credential is as old as labd's start, so a token that was replaced since is in the file
// only; where the operator gave none, it is empty.
func readToken(file, credentials, defaultFile string) (string, error) {
	files := []string{file}
	if file == "" {
		files = []string{defaultFile, filepath.Join(credentials, tokenCredential)}
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && file == "" {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read the API token: %w", err)
		}
		if token := strings.TrimSpace(string(data)); token != "" {
			return token, nil
		}
	}
	return "", errNoToken
}
