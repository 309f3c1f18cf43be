package pve

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"

	"labd/internal/host"
)

// ErrNoVersion says that the host's files do not tell which PVE it runs.
var ErrNoVersion = errors.New("the files of this host do not tell PVE's version")

// versionModule is the Perl module below paths.usr in which pve-manager keeps
// its version. Source: PVE/pvecfg.pm.in of pve-manager.
const versionModule = "share/perl5/PVE/pvecfg.pm"

var versionEntry = regexp.MustCompile(`'(version|release|repoid)'\s*=>\s*'([^']*)'`)

// InstalledVersion reads PVE's version from the files of its packages, without
// running or asking PVE: ErrNoVersion where there are none, as on a host without
// PVE or where paths.etc, paths.dev or paths.pve is moved and paths.usr is not.
func InstalledVersion(ctx context.Context, h *host.Host) (Version, error) {
	if h.Moved() && h.Usr == host.DefaultPaths().Usr {
		return Version{}, ErrNoVersion
	}
	data, err := h.ReadFile(ctx, filepath.Join(h.Usr, versionModule))
	if err != nil {
		return Version{}, fmt.Errorf("%w: %w", ErrNoVersion, err)
	}
	return ParseVersionModule(data)
}

// Installed reports whether PVE is installed on the host, by the files of its
// packages, whether or not they tell the version.
func Installed(ctx context.Context, h *host.Host) bool {
	if h.Moved() && h.Usr == host.DefaultPaths().Usr {
		return false
	}
	_, err := h.ReadFile(ctx, filepath.Join(h.Usr, versionModule))
	return err == nil
}

// ParseVersionModule reads what sub version_info of PVE::pvecfg returns, which
// is also the answer to GET /version.
func ParseVersionModule(data []byte) (Version, error) {
	var v Version
	for _, m := range versionEntry.FindAllSubmatch(data, -1) {
		switch value := string(m[2]); string(m[1]) {
		case "version":
			v.Version = value
		case "release":
			v.Release = value
		case "repoid":
			v.RepoID = value
		}
	}
	if v.Major() == 0 {
		return Version{}, fmt.Errorf("%w: %s names no release", ErrNoVersion, versionModule)
	}
	return v, nil
}
