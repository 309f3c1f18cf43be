package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/google/go-cmp/cmp"
)

// plainSocket is a socket without a check of who listens.
type plainSocket string

func (p plainSocket) Address() string { return string(p) }
func (p plainSocket) Dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", string(p))
}

// daemon is a Docker that answers as told; without an entry it answers as a plain one.
func daemon(t *testing.T, answers map[string]http.HandlerFunc) Socket {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			t.Errorf("labd sent %s %s", r.Method, r.URL)
		}
		endpoint := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			endpoint = "containers"
		}
		if answer, ok := answers[endpoint]; ok {
			answer(w, r)
			return
		}
		w.Header().Set("Api-Version", "1.41")
		switch endpoint {
		case "version":
			fmt.Fprint(w, `{"Version":"20.10.24","ApiVersion":"1.41"}`)
		case "info":
			fmt.Fprint(w, `{}`)
		case "networks", "containers":
			fmt.Fprint(w, `[]`)
		}
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	return plainSocket(path)
}

func reply(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func discover(t *testing.T, s Socket) (*Info, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return NewSession(s).Discover(ctx)
}

const twoNetworks = `[
 {"Id":"0123456789abcdef","Name":"web_default","Driver":"bridge","Labels":{"labd.mode":"alias"},"Options":{"com.docker.network.bridge.gateway_mode_ipv6":"routed"},"IPAM":{"Config":[{"Subnet":"172.18.0.5/16","Gateway":"172.18.0.1"},{"Subnet":"fd00:18::/64"}]}},
 {"Id":"fedcba9876543210","Name":"bridge","Driver":"bridge","Options":{"com.docker.network.bridge.name":"docker0","com.docker.network.bridge.gateway_mode_ipv4":"nat-unprotected"},"IPAM":{"Config":[{"Subnet":"172.17.0.0/16"}]}},
 {"Id":"aaaaaaaaaaaaaaaa","Name":"host","Driver":"host","IPAM":{"Config":[]}}
]`

const oneContainer = `[{"Names":["/web-1"],"State":"running","Status":"Up 2 hours (healthy)","Labels":{"com.docker.compose.project":"web","com.docker.compose.service":"shop"},
 "Ports":[{"IP":"127.0.0.1","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":443,"Type":"tcp"}],
 "NetworkSettings":{"Networks":{"web_default":{"IPAddress":"172.18.0.2","GlobalIPv6Address":""}}}},
 {"Names":["/proxy"],"State":"running","HostConfig":{"NetworkMode":"host"},"NetworkSettings":{"Networks":{"host":{"IPAddress":""}}}}]`

func TestDiscover(t *testing.T) {
	info, err := discover(t, daemon(t, map[string]http.HandlerFunc{
		"networks": reply(twoNetworks), "containers": reply(oneContainer), "info": reply(`{"FirewallBackend":{"Driver":"nftables"}}`),
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := &Info{
		Version: "20.10.24", API: "1.41", FirewallBackend: "nftables",
		Networks: []Network{
			{ID: "0123456789abcdef", Name: "web_default", Driver: "bridge", Bridge: "br-0123456789ab", Mode: "alias", GatewayMode: "nat", GatewayMode6: "routed", Subnets: []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16"), netip.MustParsePrefix("fd00:18::/64")}},
			{ID: "fedcba9876543210", Name: "bridge", Driver: "bridge", Bridge: "docker0", GatewayMode: "nat-unprotected", GatewayMode6: "nat", Subnets: []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")}},
			{ID: "aaaaaaaaaaaaaaaa", Name: "host", Driver: "host", GatewayMode: "nat", GatewayMode6: "nat"},
		},
		Containers: []Container{{
			Name: "web-1", Project: "web", Service: "shop", State: StateRunning, Health: Healthy, Addresses: map[string][]netip.Addr{"web_default": {netip.MustParseAddr("172.18.0.2")}},
			Ports: []Port{{80, "tcp", "127.0.0.1", 8080}, {443, "tcp", "", 0}},
		}, {Name: "proxy", State: StateRunning, Addresses: map[string][]netip.Addr{}, HostNetwork: true}},
	}
	if diff := cmp.Diff(want, info, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What a hostile container may answer. Each must end in time, with the right error, and harm nobody.
func TestHostileDaemon(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`[{"Name":"`))
		chunk := []byte(strings.Repeat("x", 64<<10))
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	slow := func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := w.Write([]byte(" ")); err != nil || r.Context().Err() != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
	many := "[" + strings.TrimSuffix(strings.Repeat(`{"Name":"n"},`, 100_000), ",") + "]"
	for _, tt := range []struct {
		name     string
		endpoint string
		answer   http.HandlerFunc
		want     error
	}{
		{"an answer without end", "networks", endless, ErrTooLarge},
		{"100,000 networks", "networks", reply(many), ErrTooMany},
		{"100,000 containers", "containers", reply(strings.ReplaceAll(many, `{"Name":"n"}`, `{"Id":"n"}`)), ErrTooMany},
		{"a byte now and then", "networks", slow, context.DeadlineExceeded},
		{"no answer", "version", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, context.DeadlineExceeded},
		{"no JSON", "networks", reply("<html>"), ErrMalformed},
		{"another JSON", "networks", reply(`{"a":1}`), ErrMalformed},
		{"a list that ends early", "networks", reply(`[{"Name":"a"`), ErrMalformed},
		{"a redirect", "networks", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/networks", http.StatusTemporaryRedirect)
		}, nil},
		{"an error", "networks", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"message":"no"}`, 500) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			info, err := discover(t, daemon(t, map[string]http.HandlerFunc{tt.endpoint: tt.answer}))
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%+v, %v; want %v", info, err, tt.want)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestNoDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
	if _, err := discover(t, plainSocket(path)); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

// Names and prefixes that cannot be Docker's are left out, one by one, and said.
func TestNamesAndPrefixes(t *testing.T) {
	network := func(name, bridge, subnet string) string {
		b, _ := json.Marshal(map[string]any{
			"Id": "0123456789abcdef", "Name": name, "Driver": "bridge", "Options": map[string]string{"com.docker.network.bridge.name": bridge},
			"IPAM": map[string]any{"Config": []map[string]string{{"Subnet": subnet}}},
		})
		return string(b)
	}
	bad := []string{
		network("a b", "br0", "172.20.0.0/16"), network("x;reboot", "br0", "172.20.0.0/16"), network("", "br0", "172.20.0.0/16"), network("a\xff", "br0", "172.20.0.0/16"),
		network("n1", "br0 -j ACCEPT", "172.20.0.0/16"), network("n2", "-A", "172.20.0.0/16"), network("n3", strings.Repeat("x", 16), "172.20.0.0/16"), network("n4", "../x", "172.20.0.0/16"),
		network("n5", "br0", "172.20.0.0"), network("n6", "br0", "fe80::%eth0/64"), network("n7", "br0", "::ffff:172.20.0.0/112"), network("n8", "br0", "172.20.0.0/99"),
	}
	good := network("good", "br0", "172.20.0.0/16")
	info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"networks": reply("[" + strings.Join(append(bad, good, good), ",") + "]")}))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Networks) != 1 || info.Networks[0].Name != "good" || len(info.Rejected) != len(bad)+1 {
		t.Errorf("networks %+v, rejected %q", info.Networks, info.Rejected)
	}
}

func FuzzNetworks(f *testing.F) {
	f.Add([]byte(twoNetworks), []byte(oneContainer))
	f.Fuzz(func(t *testing.T, networks, containers []byte) {
		var ns []network.Inspect
		var cs []container.Summary
		_, _ = json.Unmarshal(networks, &ns), json.Unmarshal(containers, &cs)
		info := &Info{}
		for _, n := range ns {
			info.addNetwork(n)
		}
		for _, c := range cs {
			info.addContainer(c)
		}
		for _, n := range info.Networks {
			if !validName(n.Name) || n.Bridge != "" && !ValidInterface(n.Bridge) {
				t.Errorf("let through: %+v", n)
			}
			for _, s := range n.Subnets {
				if !s.IsValid() || s != s.Masked() {
					t.Errorf("let through: %s", s)
				}
			}
		}
	})
}

// Bytes that are no UTF-8, in names, bridges and labels: left out or made harmless, never passed on as they came.
func TestInvalidUTF8(t *testing.T) {
	networks := "[{\"Id\":\"0123456789abcdef\",\"Name\":\"a\xff\xfeb\",\"Driver\":\"bridge\",\"Options\":{\"com.docker.network.bridge.name\":\"br0\"},\"IPAM\":{\"Config\":[{\"Subnet\":\"172.20.0.0/16\"}]}}," +
		"{\"Id\":\"1123456789abcdef\",\"Name\":\"n1\",\"Driver\":\"bridge\",\"Options\":{\"com.docker.network.bridge.name\":\"br\xff\"},\"IPAM\":{\"Config\":[{\"Subnet\":\"172.20.0.0/16\"}]}}," +
		"{\"Id\":\"2123456789abcdef\",\"Name\":\"n2\",\"Driver\":\"br\xffidge\",\"Labels\":{\"labd.mode\":\"\xff\"},\"IPAM\":{\"Config\":[]}}]"
	containers := "[{\"Names\":[\"/w\xff\"],\"State\":\"run\xff\",\"Status\":\"\xff (healthy)\"},{\"Names\":[\"/ok\"],\"State\":\"run\xff\",\"Labels\":{\"com.docker.compose.project\":\"\xff\"}}]"
	info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"networks": reply(networks), "containers": reply(containers)}))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Networks) != 1 || info.Networks[0].Name != "n2" || len(info.Containers) != 1 || info.Containers[0].State != StateUnknown || info.Containers[0].Project != "" {
		t.Errorf("let through: %+v", info)
	}
	if len(info.Rejected) != 3 {
		t.Errorf("rejected %q", info.Rejected)
	}
}
