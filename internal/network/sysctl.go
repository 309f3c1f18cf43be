package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"labd/internal/plan"
)

// The settings of IPv6 that labd may change. The kernel forwards IPv6 only where the setting for all interfaces says so
// (net/ipv6/ip6_output.c, ip6_forward), and an interface whose accept_ra is 1 then forgets what routers told it: so that
// the host keeps its own way out, accept_ra becomes 2 first, "also when forwarding"
// (Documentation/networking/ip-sysctl.rst).
const (
	forwarding6Name = "net.ipv6.conf.all.forwarding"
	acceptRAAlways  = "2"
)

func acceptRAName(interfaceName string) string {
	return "net.ipv6.conf." + interfaceName + ".accept_ra"
}

// sysctlParams are the parameters of opSysctl.
type sysctlParams struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// sysctls6 are the settings that IPv6 needs on the host, in the order in which they are made.
func sysctls6(f *Facts, r *Report) []sysctlParams {
	if !r.Want.Forwarding6 || f.Host.Forwarding6 {
		return nil
	}
	var out []sysctlParams
	for _, name := range f.Host.AcceptRA6 {
		out = append(out, sysctlParams{acceptRAName(name), acceptRAAlways})
	}
	return append(out, sysctlParams{forwarding6Name, "1"})
}

func sysctlTitle(p sysctlParams) string {
	if p.Name == forwarding6Name {
		return "Let the host forward IPv6"
	}
	return fmt.Sprintf("Let %s keep what routers announce also when the host forwards IPv6", strings.TrimSuffix(strings.TrimPrefix(p.Name, "net.ipv6.conf."), ".accept_ra"))
}

// sysctlFile is the file of one of labd's settings; a journal is read from disk, so no other is taken from it.
func (c *Controller) sysctlFile(name string) (string, error) {
	rest, ok := strings.CutPrefix(name, "net.ipv6.conf.")
	middle, isRA := strings.CutSuffix(rest, ".accept_ra")
	switch {
	case name == forwarding6Name:
		return filepath.Join(c.host.Procfs, "sys/net/ipv6/conf/all/forwarding"), nil
	case ok && isRA && !strings.ContainsAny(middle, "/") && middle != "." && middle != "..":
		return filepath.Join(c.host.Procfs, "sys/net/ipv6/conf", middle, "accept_ra"), nil
	}
	return "", fmt.Errorf("%q is no setting of labd's", name)
}

func (c *Controller) readSysctl(ctx context.Context, name string) (string, error) {
	file, err := c.sysctlFile(name)
	if err != nil {
		return "", err
	}
	data, err := c.host.ReadFile(ctx, file)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return strings.TrimSpace(string(data)), nil
}

func (c *Controller) writeSysctl(name, value string) error {
	file, err := c.sysctlFile(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", name, value, err)
	}
	return nil
}

// sysctlOp is the operation that changes a setting.
func (c *Controller) sysctlOp() plan.Op {
	return plan.Typed[sysctlParams, string]{
		CaptureFunc: func(ctx context.Context, p sysctlParams) (string, error) { return c.readSysctl(ctx, p.Name) },
		DoFunc: locked(c, func(_ context.Context, p sysctlParams) error {
			return errors.Join(c.writeSysctl(p.Name, p.Value), c.state.noteForwarding(p.Name, true))
		}),
		VerifyFunc: func(ctx context.Context, p sysctlParams) error {
			value, err := c.readSysctl(ctx, p.Name)
			if err == nil && value != p.Value {
				err = fmt.Errorf("%s is %q", p.Name, value)
			}
			return err
		},
		FormerFunc: func(p sysctlParams, former string) string { return p.Name + " was " + former },
		UndoFunc: func(ctx context.Context, p sysctlParams, former string) error {
			return locked(c, func(context.Context, string) error {
				return errors.Join(c.writeSysctl(p.Name, former), c.state.noteForwarding(p.Name, false))
			})(ctx, former)
		},
	}
}

// acceptRA6 are the interfaces that have taken routes from router advertisements and would stop doing so.
func (h Host) acceptRA6(value func(interfaceName string) string) []string {
	const kernelRA = 9 // RTPROT_RA
	var out []string
	for _, r := range h.Routes {
		if r.Protocol == kernelRA && r.Dev != "" && !slices.Contains(out, r.Dev) && value(r.Dev) == "1" {
			out = append(out, r.Dev)
		}
	}
	slices.Sort(out)
	return out
}
