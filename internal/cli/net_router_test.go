package cli

import (
	"strings"
	"testing"

	apiv1 "labd/api/v1"
)

// What is for pasting comes alone on standard output.
func TestRouterCommand(t *testing.T) {
	report := envelopeOf(apiv1.KindRouterReport, []apiv1.RouterItem{{ID: "router/plain", Style: "plain", Routes: []apiv1.RouterRoute{}, Text: "ip route add 172.16.0.0/12 via 192.168.1.2\n"}})
	report.Notes = []string{"mind the path back"}
	socket := answers{"GET /v1/router?fresh=1&style=plain": report}.start(t)
	code, out, errs := labctl(t, socket, "net", "router")
	if code != 0 || out != "ip route add 172.16.0.0/12 via 192.168.1.2\n" || errs != "note: mind the path back\n" {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
	if _, out, errs := labctl(t, socket, "net", "router", "-o", "json"); !strings.Contains(out, "mind the path back") || errs != "" {
		t.Errorf("JSON:\n%s\n%s", out, errs)
	}
	if code, _, errs := labctl(t, socket, "net", "router", "--style", "cisco"); code != 2 || !strings.Contains(errs, "mikrotik") {
		t.Errorf("exit %d\n%s", code, errs)
	}
	names := envelopeOf(apiv1.KindRouterReport, []apiv1.RouterItem{{ID: "router/hosts-pihole", Style: "hosts-pihole", Text: "172.18.0.2 web.ct101\n"}})
	socket = answers{"GET /v1/router?fresh=1&style=frr&remove=1": report, "GET /v1/router?fresh=1&hosts=hosts": report, "GET /v1/router?fresh=1&hosts=pihole": names, "GET /v1/router?fresh=1&hosts=dnsmasq": names}.start(t)
	for want, args := range map[int][][]string{
		ExitOK:    {{"--style", "frr", "--remove"}, {"--hosts"}, {"--hosts=pihole"}, {"--hosts", "--style", "pihole"}, {"--hosts", "--style", "dnsmasq-121"}},
		ExitUsage: {{"--hosts", "--remove"}, {"--hosts=bind"}, {"--hosts", "--style", "frr"}},
	} {
		for _, flags := range args {
			if code, _, errs := labctl(t, socket, append([]string{"net", "router"}, flags...)...); code != want {
				t.Errorf("%v: exit %d, %s", flags, code, errs)
			}
		}
	}
	if _, out, _ := labctl(t, socket, "__complete", "net", "router", "--style", ""); !strings.Contains(out, "dnsmasq-121") {
		t.Errorf("completion:\n%s", out)
	}
}
