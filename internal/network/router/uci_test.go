package router

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// uciStandIn takes the words of OpenWrt's uci that labd's texts use, as far as these need them; it is not uci, which Debian
// does not have. Its state is a file of lines NAME=VALUE for each configuration.
const uciStandIn = `#!/bin/sh
[ "$1" = -q ] && shift
command=$1; shift
file=$UCI_DIR/${1%%.*}; file=${file%%=*}; touch "$file"
case "$command" in
show) cat "$file" ;;
get) sed -n "s/^$1=//p" "$file" | tr '\n' ' '; grep -q "^$1=" "$file" ;;
set) name=${1%%=*}; grep -v "^$name=" "$file" >"$file.new"; mv "$file.new" "$file"; echo "$1" >>"$file" ;;
delete) grep -q "^$1[.=]" "$file" || exit 1; grep -v "^$1[.=]" "$file" >"$file.new"; mv "$file.new" "$file" ;;
add_list) echo "$1" >>"$file" ;;
del_list) grep -vxF "$1" "$file" >"$file.new"; mv "$file.new" "$file" ;;
commit) ;;
*) echo "no such command: $command" >&2; exit 1 ;;
esac
`

// paste runs a text in BusyBox' shell, as on a router, with the stand-in for uci.
func paste(t *testing.T, dir, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "/etc/init.d/", "true /etc/init.d/")
	cmd := exec.Command("busybox", "sh")
	cmd.Stdin = strings.NewReader(text)
	cmd.Env = []string{"PATH=" + dir + ":/usr/sbin:/usr/bin:/sbin:/bin", "UCI_DIR=" + dir}
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "no such command") {
		t.Fatalf("%v: %s\n%s", err, out, text)
	}
}

func uciDir(t *testing.T, files map[string]string) string {
	t.Helper()
	if _, err := exec.LookPath("busybox"); err != nil {
		missing(t, "busybox")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "uci"), []byte(uciStandIn), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func uciFile(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Pasted over what an older labd left, twice, after a change, and removed: what is wanted is there, once, and what is
// somebody's own stays.
func TestOpenWrtPasted(t *testing.T) {
	const own = "network.lan=interface\nnetwork.home=route\nnetwork.home.target='10.1.0.0'\n"
	dir := uciDir(t, map[string]string{"network": own + "network.labd_1=route\nnetwork.labd_1.netmask='255.255.255.0'\nnetwork.labd_2=route6\nnetwork.labd_2.target='fd18::/48'\n"})
	want := func(when string, s situation) {
		t.Helper()
		got := uciFile(t, dir, "network")
		if !strings.HasPrefix(got, own) || strings.Count(got, "=route") != 1+len(s.subnets) || strings.Contains(got, "labd_1=") {
			t.Errorf("%s:\n%s", when, got)
		}
		for _, subnet := range s.subnets {
			address := strings.TrimSuffix(subnet, "/24")
			section := "network.labd_" + strings.ReplaceAll(address, ".", "_") + "_24"
			for _, line := range []string{section + "=route\n", section + ".target=" + address + "\n", section + ".netmask=255.255.255.0\n", section + ".gateway=" + s.hop + "\n"} {
				if strings.Count(got, line) != 1 {
					t.Errorf("%s: %q is there %d times:\n%s", when, line, strings.Count(got, line), got)
				}
			}
		}
	}
	for range 2 {
		paste(t, dir, textOf(t, first, Request{Style: "openwrt"}))
		want("pasted", first)
	}
	paste(t, dir, textOf(t, changed, Request{Style: "openwrt"}))
	want("changed", changed)
	paste(t, dir, textOf(t, changed, Request{Style: "openwrt", Remove: true}))
	want("removed", situation{})
}

func TestOpenWrtDHCPPasted(t *testing.T) {
	const own = "dhcp.lan=dhcp\ndhcp.lan.dhcp_option=6,192.168.50.53\n"
	dir := uciDir(t, map[string]string{"dhcp": own + "dhcp.lan.dhcp_option=121,10.0.0.0/8,192.168.50.2\n"})
	option := func(s situation) string {
		out := "dhcp.lan.dhcp_option=121,0.0.0.0/0,192.168.50.254"
		for _, subnet := range s.subnets {
			out += "," + subnet + "," + s.hop
		}
		return out + "\n"
	}
	for _, step := range []struct {
		text, want string
	}{
		{textOf(t, first, Request{Style: "openwrt-dhcp"}), own + option(first)},
		{textOf(t, first, Request{Style: "openwrt-dhcp"}), own + option(first)},
		{textOf(t, changed, Request{Style: "openwrt-dhcp"}), own + option(changed)},
		{textOf(t, changed, Request{Style: "openwrt-dhcp", Remove: true}), own},
	} {
		paste(t, dir, step.text)
		if got := uciFile(t, dir, "dhcp"); got != step.want {
			t.Errorf("got:\n%s\nwant:\n%s", got, step.want)
		}
	}
}
