package cli

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

// probeTimeout is how long labctl waits for a probe where --timeout was not given: packets are waited for.
const probeTimeout = 15 * time.Second

func (a *app) netProbeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "probe ADDR[:PORT]", Short: "Show each step of the way to a Docker container, send packets, and say where they end",
		Long: `For a Docker container that does not answer. It checks each step (hop) of the way from the LAN to the address and back:
routes, forwarding, rp_filter, PVE's firewall, the rules in the container, the bridge and the Docker container. Then it sends
echo requests and opens a TCP connection from the host, and shows which rules counted these packets. It changes nothing.`,
		Example:           "  labctl net probe 172.18.0.2\n  labctl net probe 172.18.0.2:8080",
		ValidArgsFunction: a.complete(1, probeValues),
		Args:              exactlyOne("address, with or without a port"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := probeRequest(args[0])
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *client) error {
				if !a.timeoutSet {
					c.timeout = probeTimeout
				}
				var report apiv1.Envelope[apiv1.ProbeItem]
				if err := c.post(cmd.Context(), "/v1/probes", req, &report); err != nil {
					return err
				}
				err := emit(a, report, func(i apiv1.ProbeItem) string { return i.ID }, func(wide bool) {
					for _, item := range report.Items {
						a.printProbe(item, wide)
					}
					a.explain(report.Findings, wide)
				})
				if err != nil {
					return err
				}
				return checkExit(report.Findings)
			})
		},
	}
}

func probeRequest(text string) (apiv1.ProbeRequest, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return apiv1.ProbeRequest{Address: addr.String()}, nil
	}
	both, err := netip.ParseAddrPort(text)
	if err != nil || both.Port() == 0 {
		return apiv1.ProbeRequest{}, usageError("%q is neither an address nor ADDR:PORT", text)
	}
	return apiv1.ProbeRequest{Address: both.Addr().String(), Port: both.Port()}, nil
}

func (a *app) printProbe(item apiv1.ProbeItem, wide bool) {
	what := item.Network
	switch {
	case what == "":
		what = "no Docker network that is known"
	case item.DockerContainer != "":
		what = "container " + item.DockerContainer + " of " + what
	}
	a.printf("%s, %s: %s\n\n", item.ID, what, item.Verdict)
	rows := make([][]string, 0, len(item.Hops))
	for _, h := range item.Hops {
		row := []string{string(h.Name), h.Where, string(h.State), h.Text}
		if wide {
			row = append(row, h.Rule)
		}
		rows = append(rows, row)
	}
	header := []string{"HOP", "WHERE", "STATE", "WHY"}
	if wide {
		header = append(header, "RULE")
	}
	a.tableRows(header, rows, func(r int) apiv1.Health { return item.Hops[r].State.Health() })
	for _, h := range item.Hops {
		if h.State == apiv1.HopOK {
			continue
		}
		if h.Rule != "" {
			a.printf("\n%s: %s\n", h.Name, h.Rule)
			if h.Packets > 0 {
				a.printf("  it counted %s packets while labd sent its own\n", strconv.FormatUint(h.Packets, 10))
			}
		}
		for i, line := range h.Lines {
			if i == 0 {
				a.printf("  add to %s:\n", line)
				continue
			}
			a.raw("      " + line)
		}
	}
	if len(item.Packets) > 0 {
		a.printf("\n")
	}
	for _, p := range item.Packets {
		kind := p.Kind
		if p.Port != 0 {
			kind += " " + strconv.Itoa(int(p.Port))
		}
		from := ""
		if item.Source != "" {
			from = " from " + item.Source
		}
		text := "packet " + kind + from + ": " + p.Result
		if p.RTTSeconds > 0 {
			text += " after " + strconv.FormatFloat(p.RTTSeconds*1000, 'f', 2, 64) + " ms"
		}
		a.line("", text)
	}
	if wide {
		for _, m := range item.Moved {
			a.printf("counted in %s, table %s: %s packets by %s\n", m.Where, m.Table, strconv.FormatUint(m.Packets, 10), m.Rule)
		}
	}
}
