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
	var from string
	cmd := &cobra.Command{
		Use: "probe ADDR[:PORT]", Short: "Show each step of the way to a Docker container, send packets, and say where they end",
		Long: `For a Docker container that does not answer. It checks each step (hop) of the way from the LAN to the address and back:
routes, forwarding, rp_filter, PVE's firewall, the rules in the container, the bridge and the Docker container. Then it opens a
TCP connection from the host, or sends echo requests where no port is given, and shows which rules counted these packets. It
changes nothing. The address may also be that of the LXC container itself, for a published port, or of a macvlan container.

What only packets of the LAN pass, such as the host's FORWARD rules, is judged by the rules: labd's packets do not go that
way. A step that labd cannot judge makes the whole unknown. --from judges the way for one client.

Exit code: 0 it is reached; 3 the port is closed, or labd cannot tell; 4 packets do not arrive.`,
		Example: `  labctl net probe 172.18.0.2
  labctl net probe 172.18.0.2:8080
  labctl net probe 172.18.0.2:8080 --from 192.168.20.15
  labctl net probe [fd18::2]:8080`,
		ValidArgsFunction: a.complete(1, probeValues),
		Args:              exactlyOne("address, with or without a port"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := probeRequest(args[0])
			if err != nil {
				return err
			}
			if from != "" {
				addr, err := netip.ParseAddr(from)
				if err != nil || addr.Zone() != "" {
					return usageError("--from %q is no address", from)
				}
				req.From = addr.String()
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
				return probeExit(report)
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "judge the way for this client's address instead of some client that may come")
	return cmd
}

// probeExit returns the exit code of a probe: by its verdict and its findings, whichever is worse.
func probeExit(report apiv1.Envelope[apiv1.ProbeItem]) error {
	var verdicts []apiv1.Health
	for _, item := range report.Items {
		verdicts = append(verdicts, item.Verdict.Health())
	}
	return checkExit(report.Findings, verdicts...)
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
	verdict := string(item.Verdict)
	if item.PortState != "" && string(item.PortState) != verdict {
		verdict += ", the port is " + string(item.PortState)
	}
	a.printf("%s, %s: %s\n", item.ID, what, verdict)
	if item.From != "" {
		a.printf("judged for a client at %s\n", item.From)
	}
	a.printf("\n")
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
