package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"labd/internal/config"
	"labd/internal/host"
	"labd/internal/pve"
	"labd/internal/setup"
)

// pveTimeout bounds one request to PVE: a change waits ten seconds for PVE's own lock.
const pveTimeout = 30 * time.Second

// connectPVE makes a client of PVE's API. Token and certificate are read each time: both may come after labd started.
// Without a token all requests go through pvesh, with one those that its rights do not cover.
func connectPVE(cfg config.Config, h *host.Host) (*pve.Client, error) {
	var shell pve.Runner
	if h.HasProgram("pvesh") {
		shell = h
	}
	client, err := tokenClient(cfg, shell)
	if errors.Is(err, errNoToken) && shell != nil {
		return pve.NewClient(pve.ClientConfig{Node: cfg.PVE.Node, Timeout: pveTimeout, Shell: shell})
	}
	return client, err
}

// tokenClient makes a client that has labd's token; shell, when given, is for what its rights do not cover.
func tokenClient(cfg config.Config, shell pve.Runner) (*pve.Client, error) {
	token, err := readToken(cfg.PVE.TokenFile, os.Getenv("CREDENTIALS_DIRECTORY"), tokenFile)
	if err != nil {
		return nil, err
	}
	return clientWith(cfg, token, shell)
}

// clientWith makes a client that shows a token.
func clientWith(cfg config.Config, token string, shell pve.Runner) (*pve.Client, error) {
	ca, err := os.ReadFile(cfg.PVE.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority of PVE: %w", err)
	}
	return pve.NewClient(pve.ClientConfig{BaseURL: cfg.PVE.API, Token: token, CA: ca, Node: cfg.PVE.Node, Timeout: pveTimeout, Shell: shell})
}

// newAccess is how labd gives itself access to PVE.
func newAccess(cfg config.Config, h *host.Host) *setup.Access {
	file := cfg.PVE.TokenFile
	if file == "" {
		file = tokenFile
	}
	return &setup.Access{Host: h, TokenFile: file, Try: func(ctx context.Context, token string) (pve.Permissions, error) {
		client, err := clientWith(cfg, token, nil)
		if err != nil {
			return nil, err
		}
		defer client.Close()
		return client.Permissions(ctx)
	}}
}
