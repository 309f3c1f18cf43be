package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"labd/internal/config"
	"labd/internal/host"
	"labd/internal/pve"
)

// pveAccess finds out whether PVE lets labd change storages. It reads PVE's users first: a request with a token that PVE
// does not take would hang for three seconds and stand in PVE's log each time, where fail2ban may count it.
type pveAccess struct {
	cfg  config.Config
	host *host.Host

	mu sync.Mutex
	// seen is what token and users the answer is for, at when it was given.
	seen [sha256.Size]byte
	at   time.Time
	age  time.Duration
	err  error
}

// How long PVE's answer counts while token and users are the same, how long it is not asked again when it gave none, and
// how long it may take: a refusal takes it three seconds.
const (
	accessAge     = time.Hour
	accessRetry   = time.Minute
	accessTimeout = 4 * time.Second
)

// Check returns a *pve.AccessError where PVE surely does not let labd change storages; nil where it does, and where that
// cannot be told: a step finds that out. force asks PVE also when nothing is seen to have changed.
func (a *pveAccess) Check(ctx context.Context, force bool) error {
	token, err := readToken(a.cfg.PVE.TokenFile, os.Getenv("CREDENTIALS_DIRECTORY"), tokenFile)
	if err != nil {
		return nil // without a token labd asks PVE as root, or cannot ask at all
	}
	users, err := a.host.ReadFile(ctx, filepath.Join(a.host.PVE, "user.cfg"))
	if err == nil && a.isLocal() {
		if err := a.checkFiles(ctx, token, users); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := sha256.Sum256(append([]byte(token+"\n"), users...))
	if !force && seen == a.seen && time.Since(a.at) < a.age {
		return a.err
	}
	var answered bool
	answered, a.err = a.ask(ctx, token)
	a.seen, a.at, a.age = seen, time.Now(), accessRetry
	if answered {
		a.age = accessAge
	}
	return a.err
}

// isLocal reports whether the API that is asked is this node's, whose users are those in /etc/pve.
func (a *pveAccess) isLocal() bool {
	u, err := url.Parse(a.cfg.PVE.API)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && address.IsLoopback()
}

// checkFiles looks the token up in user.cfg and priv/token.cfg.
func (a *pveAccess) checkFiles(ctx context.Context, token string, users []byte) error {
	id, secret, _ := strings.Cut(token, "=")
	if why := pve.ParseUserConfig(users).WhyRefused(id, time.Now()); why != "" {
		return pve.TokenRefused(why)
	}
	secrets, err := a.host.ReadFile(ctx, filepath.Join(a.host.PVE, "priv/token.cfg"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(secrets)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && name == id && subtle.ConstantTimeCompare([]byte(value), []byte(secret)) != 1 {
			return pve.TokenRefused("the secret of the API token " + id + " is another one: somebody replaced the token")
		}
	}
	return nil
}

// ask asks PVE what the token may do, and reports whether it answered.
func (a *pveAccess) ask(ctx context.Context, token string) (answered bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, accessTimeout)
	defer cancel()
	client, err := clientWith(a.cfg, token, nil)
	if err != nil {
		return false, nil
	}
	defer client.Close()
	permissions, err := client.Permissions(ctx)
	switch {
	case errors.Is(err, pve.ErrUnauthenticated):
		return true, pve.TokenRefused("it does not take the API token")
	case err != nil:
		return false, nil
	}
	return true, pve.CheckRights(permissions, a.cfg.PVE.Node)
}
