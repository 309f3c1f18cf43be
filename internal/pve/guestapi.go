package pve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The call of this file needs VM.Config.CDROM, VM.Config.Disk or
// VM.Config.Options on /vms/ID and goes through pvesh as root where it can be run.

// GuestRef names a guest and the node that it is on.
type GuestRef struct {
	Kind GuestKind
	ID   int
	Node string
}

func (g GuestRef) path() (string, error) {
	if err := checkNodeName(g.Node); err != nil {
		return "", fmt.Errorf("node %q: %w", g.Node, err)
	}
	if g.ID <= 0 || g.Kind != QEMU && g.Kind != LXC {
		return "", fmt.Errorf("guest %s/%d: want a kind that PVE has and an ID above 0", g.Kind, g.ID)
	}
	return fmt.Sprintf("/nodes/%s/%s/%d/config", g.Node, g.Kind, g.ID), nil
}

var guestKeyPattern = regexp.MustCompile(`^[a-z][a-z_]*[0-9]*$`)

// UpdateGuest sets and unsets keys of a guest's configuration: a CD drive to
// "none,media=cdrom" detaches its image, unsetting unusedN deletes that volume,
// which fails while its storage cannot be used. A change that a running guest
// cannot take becomes pending. With a digest PVE refuses (ErrChanged) when the
// file is not the one read.
func (c *Client) UpdateGuest(ctx context.Context, g GuestRef, set map[string]string, unset []string, digest string) error {
	path, err := g.path()
	if err != nil {
		return err
	}
	body, err := changeBody(set, unset)
	if err != nil {
		return fmt.Errorf("change guest %s/%d: %w", g.Kind, g.ID, err)
	}
	if digest != "" {
		body["digest"] = digest
	}
	return unwrap(c.root.Put(ctx, path, body, nil))
}

// changeBody joins what is set and unset into the parameters of a PUT.
func changeBody(set map[string]string, unset []string) (map[string]string, error) {
	body := map[string]string{}
	maps.Copy(body, set)
	for _, key := range slices.Concat(slices.Sorted(maps.Keys(set)), unset) {
		if !guestKeyPattern.MatchString(strings.ReplaceAll(key, "-", "_")) || key == "delete" || key == "digest" {
			return nil, fmt.Errorf("%q is no key of a configuration", key)
		}
		if _, both := set[key]; both && slices.Contains(unset, key) {
			return nil, fmt.Errorf("%s is to be set and unset", key)
		}
	}
	if len(body)+len(unset) == 0 {
		return nil, errors.New("nothing is to be changed")
	}
	if len(unset) > 0 {
		body["delete"] = strings.Join(unset, ",")
	}
	return body, nil
}
