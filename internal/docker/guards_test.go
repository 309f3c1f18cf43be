package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// Which names may be an interface's and Docker's, at every byte and at the limits.
func TestNamesOfEveryByte(t *testing.T) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for c := range 256 {
		b := string([]byte{byte(c)})
		inside := c < 128 && c > 0 && strings.Contains(letters+"._-", b)
		first := c < 128 && c > 0 && strings.Contains(letters, b)
		if got := validName("a" + b); got != inside {
			t.Errorf("validName(a%q) = %v", b, got)
		}
		if got := validName(b + "a"); got != first {
			t.Errorf("validName(%qa) = %v", b, got)
		}
		if got := ValidInterface("a" + b); got != inside {
			t.Errorf("ValidInterface(a%q) = %v", b, got)
		}
	}
	for name, want := range map[string]bool{
		"": false, ".": false, "..": false, "...": true, "-a": false, "br0": true, strings.Repeat("x", 15): true, strings.Repeat("x", 16): false, "é": false,
	} {
		if got := ValidInterface(name); got != want {
			t.Errorf("ValidInterface(%q) = %v", name, got)
		}
	}
	for name, want := range map[string]bool{"": false, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "é": false, "a\xff": false} {
		if got := validName(name); got != want {
			t.Errorf("validName(%.10q) = %v", name, got)
		}
	}
	for word, want := range map[string]bool{"": true, "a/b:c": true, "é": true, "a b": false, "a\xff": false, "\u00a0": false, "\u2028": false, "\x7f": false, strings.Repeat("é", 64): true, strings.Repeat("é", 65): false} {
		if got := validWord(word); got != want {
			t.Errorf("validWord(%.10q) = %v", word, got)
		}
	}
}

func TestBridgeNames(t *testing.T) {
	for _, c := range []struct {
		id      string
		options map[string]string
		want    string
	}{
		{"0123456789abcdef", nil, "br-0123456789ab"},
		{"0123456789ab", nil, "br-0123456789ab"},
		{"0123456789a", nil, ""},
		{"0123456789abcdef", map[string]string{"com.docker.network.bridge.name": "web0"}, "web0"},
		{"0123456789abcdef", map[string]string{"com.docker.network.bridge.default_bridge": "true"}, "docker0"},
		{"0123456789abcdef", map[string]string{"com.docker.network.bridge.default_bridge": "false"}, "br-0123456789ab"},
	} {
		if got := bridgeName(network.Inspect{ID: c.id, Options: c.options}); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	// Podman does not tell its bridges, so none is asked of it.
	podman := &Info{Podman: true}
	podman.addNetwork(network.Inspect{Name: "podman", ID: "short", Driver: DriverBridge})
	docker := &Info{}
	docker.addNetwork(network.Inspect{Name: "web", ID: "short", Driver: DriverBridge})
	if len(podman.Networks) != 1 || podman.Networks[0].Bridge != "" || len(docker.Networks) != 0 || len(docker.Rejected) != 1 {
		t.Errorf("podman %+v, docker %+v", podman, docker)
	}
}

func TestSubnets(t *testing.T) {
	for text, want := range map[string]string{
		"172.18.0.5/16": "172.18.0.0/16", "fd00:18::5/64": "fd00:18::/64", "": "", "172.18.0.0": "-", "fe80::%eth0/64": "-", "::ffff:172.20.0.0/112": "-", "x": "-",
	} {
		info := &Info{}
		n := network.Inspect{Name: "n", Driver: "macvlan"}
		n.IPAM.Config = []network.IPAMConfig{{Subnet: text}}
		info.addNetwork(n)
		switch {
		case want == "-" && (len(info.Networks) != 0 || len(info.Rejected) != 1):
			t.Errorf("%q is taken: %+v", text, info)
		case want == "" && (len(info.Networks) != 1 || len(info.Networks[0].Subnets) != 0):
			t.Errorf("%q: %+v", text, info)
		case want != "-" && want != "" && (len(info.Networks) != 1 || info.Networks[0].Subnets[0] != netip.MustParsePrefix(want)):
			t.Errorf("%q: %+v", text, info)
		}
	}
}

func TestContainers(t *testing.T) {
	for status, want := range map[string]string{
		"Up 2 hours (healthy)": Healthy, "Up 2 hours (unhealthy)": Unhealthy, "Up 3 seconds (health: starting)": Starting, "Up 2 hours": "", "Exited (0)": "", "(healthy) Up": "",
	} {
		if got := health(status); got != want {
			t.Errorf("%q is %q", status, got)
		}
	}
	info := &Info{}
	info.addContainer(container.Summary{Names: []string{"/web"}, State: "running", Ports: []container.Port{
		{PrivatePort: 1, Type: "tcp"}, {PrivatePort: 2, Type: "udp"}, {PrivatePort: 3, Type: "sctp"}, {PrivatePort: 4, PublicPort: 5, IP: "0.0.0.0", Type: "tcp"}, {PrivatePort: 6, PublicPort: 0, IP: "0.0.0.0", Type: "tcp"},
	}})
	info.addContainer(container.Summary{State: "running"})
	if len(info.Containers) != 1 || len(info.Rejected) != 1 {
		t.Fatalf("%+v", info)
	}
	want := []Port{{Number: 1, Protocol: "tcp"}, {Number: 2, Protocol: "udp"}, {Number: 3, Protocol: "sctp"}, {4, "tcp", "0.0.0.0", 5}, {Number: 6, Protocol: "tcp"}}
	for i, p := range info.Containers[0].Ports {
		if p != want[i] {
			t.Errorf("port %+v, want %+v", p, want[i])
		}
	}
}

// Nothing but questions leaves labd.
func TestOnlyQuestions(t *testing.T) {
	asked := 0
	s := &strict{next: roundTrip(func(*http.Request) (*http.Response, error) {
		asked++
		return &http.Response{Body: io.NopCloser(strings.NewReader(""))}, nil
	})}
	for method, want := range map[string]bool{"GET": true, "HEAD": true, "POST": false, "PUT": false, "DELETE": false, "PATCH": false, "OPTIONS": false, "CONNECT": false} {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://docker/containers/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		before := asked
		resp, err := s.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		if (err == nil) != want || (asked > before) != want {
			t.Errorf("%s: %v, sent %v", method, err, asked > before)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An answer of exactly the limit is read, and no byte more.
func TestAnswerLimit(t *testing.T) {
	for size, want := range map[int64]error{10: nil, 9: nil, 11: ErrTooLarge} {
		body := &limitedBody{body: io.NopCloser(strings.NewReader(strings.Repeat("x", int(size)))), left: 11}
		data, err := io.ReadAll(body)
		if !errors.Is(err, want) || len(data) != int(size) {
			t.Errorf("%d of 11: %d bytes, %v", size, len(data), err)
		}
	}
}

func TestExplain(t *testing.T) {
	if err := explain("ask", nil); err != nil {
		t.Error(err)
	}
	syntax, kind := json.Unmarshal([]byte("{"), new(int)), json.Unmarshal([]byte(`"x"`), new(int))
	foreign := errors.New("foreign")
	for _, c := range []struct{ err, want error }{
		{fmt.Errorf("x: %w", context.DeadlineExceeded), context.DeadlineExceeded},
		{fmt.Errorf("x: %w", context.Canceled), context.Canceled},
		{fmt.Errorf("x: %w", syscall.ECONNREFUSED), ErrUnreachable},
		{fmt.Errorf("x: %w", ErrTooLarge), ErrTooLarge},
		{io.ErrUnexpectedEOF, ErrMalformed},
		{kind, ErrMalformed},
		{syntax, ErrMalformed},
		{io.EOF, io.EOF},
		{errors.New(strings.Repeat("x", maxMessage)), nil},
		{errors.New(strings.Repeat("é", maxMessage)), nil},
		// An error that says too much keeps its meaning.
		{fmt.Errorf("%s: %w", strings.Repeat("x", 2*maxMessage), context.DeadlineExceeded), context.DeadlineExceeded},
		{fmt.Errorf("%s: %w", strings.Repeat("x", 2*maxMessage), foreign), foreign},
	} {
		got := explain("ask", c.err)
		if got == nil || c.want != nil && !errors.Is(got, c.want) || !strings.HasPrefix(got.Error(), "ask: ") {
			t.Errorf("%.50v: %.100v", c.err, got)
		}
		if cut := strings.Contains(got.Error(), "bytes more"); c.want == nil && cut != (len(c.err.Error()) > maxMessage) {
			t.Errorf("%d bytes: cut %v", len(c.err.Error()), cut)
		}
	}
}

// A daemon that is Podman, of any name besides; one whose list fails although its description does not.
func TestDescribe(t *testing.T) {
	for text, want := range map[string]bool{
		`{"Version":"5.0","ApiVersion":"1.41","Components":[{"Name":"Podman Engine"},{"Name":"Conmon"}]}`: true,
		`{"Version":"5.0","ApiVersion":"1.41","Components":[{"Name":"Conmon"},{"Name":"Podman Engine"}]}`: true,
		`{"Version":"28","ApiVersion":"1.51","Components":[{"Name":"Engine"},{"Name":"containerd"}]}`:     false,
	} {
		info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"version": reply(text)}))
		if err != nil || info.Podman != want {
			t.Errorf("%s: %+v, %v", text, info, err)
		}
	}
	info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"info": reply(`{"FirewallBackend":{"Driver":""}}`)}))
	if err != nil || info.FirewallBackend != IPTables {
		t.Errorf("a backend without a name: %+v, %v", info, err)
	}
	for _, endpoint := range []string{"version", "info", "networks", "containers"} {
		if info, err := discover(t, daemon(t, map[string]http.HandlerFunc{endpoint: reply("no")})); err == nil || info != nil {
			t.Errorf("%s fails: %+v, %v", endpoint, info, err)
		}
	}
	list := func(n int) http.HandlerFunc {
		return reply("[" + strings.TrimSuffix(strings.Repeat(`{"Names":["/c"]},`, n), ",") + "]")
	}
	if info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"containers": list(MaxContainers)})); err != nil || len(info.Containers) != MaxContainers {
		t.Errorf("as many containers as allowed: %v", err)
	}
	if _, err := discover(t, daemon(t, map[string]http.HandlerFunc{"containers": list(MaxContainers + 1)})); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	named := func(n int) http.HandlerFunc {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"Name":"n%d","Driver":"macvlan"},`, i)
		}
		return reply("[" + strings.TrimSuffix(b.String(), ",") + "]")
	}
	if info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"networks": named(MaxNetworks)})); err != nil || len(info.Networks) != MaxNetworks {
		t.Errorf("as many networks as allowed: %v", err)
	}
	if _, err := discover(t, daemon(t, map[string]http.HandlerFunc{"networks": named(MaxNetworks + 1)})); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
}

// Lines of events: short ones whole, long ones as nothing, too long ones as an error.
func TestReadEventLimits(t *testing.T) {
	for _, c := range []struct {
		length int
		whole  bool
		err    error
	}{{10, true, nil}, {eventBuffer - 1, true, nil}, {eventBuffer, false, nil}, {MaxEvent - 1, false, nil}, {MaxEvent, false, ErrTooLarge}} {
		r := bufio.NewReaderSize(bytes.NewReader(append(bytes.Repeat([]byte("x"), c.length), '\n')), eventBuffer)
		line, size, err := readEvent(r)
		if !errors.Is(err, c.err) || (line != nil) != c.whole || err == nil && size != c.length+1 {
			t.Errorf("%d bytes: %d read, whole %v, %v", c.length, size, line != nil, err)
		}
	}
	if _, _, err := readEvent(bufio.NewReader(strings.NewReader("half"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a line: %v", err)
	}
	broken := errors.New("broken")
	if _, _, err := readEvent(bufio.NewReader(io.MultiReader(strings.NewReader("half"), failing{broken}))); !errors.Is(err, broken) {
		t.Errorf("a connection that breaks: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// What is heard: an event that matters, one that cannot be understood, and nothing else.
func TestListen(t *testing.T) {
	for text, want := range map[string]int{
		`{"Type":"network","Action":"create"}` + "\n":                         1,
		`{"Type":"container","Action":"start"}` + "\n":                        1,
		`{"Type":"container","Status":"die"}` + "\n":                          1,
		`{"Type":"container","Action":"exec_create","Status":"start"}` + "\n": 0,
		`{"Type":"image","Action":"create"}` + "\n":                           0,
		"garbage\n": 1,
		`{"Type":"image"}` + strings.Repeat(" ", eventBuffer) + "\n": 1,
	} {
		changes, heard := 0, 0
		err := listen(t.Context(), bufio.NewReaderSize(strings.NewReader(text), eventBuffer), func() { heard++ }, func() { changes++ })
		if !errors.Is(err, io.ErrUnexpectedEOF) || changes != want || heard != 1 {
			t.Errorf("%.60q: %d changes, %d heard, %v", text, changes, heard, err)
		}
	}
	// A daemon that is not loud is not made to wait; one that is, is.
	quiet := strings.Repeat(`{"Type":"image"}`+"\n", 10)
	start := time.Now()
	_ = listen(t.Context(), bufio.NewReader(strings.NewReader(quiet)), func() {}, func() {})
	if took := time.Since(start); took >= eventWindow {
		t.Errorf("ten events took %v", took)
	}
	loud := strings.Repeat(`{"Type":"image"}`+strings.Repeat(" ", 1000)+"\n", eventBudget/1000)
	start = time.Now()
	_ = listen(t.Context(), bufio.NewReader(strings.NewReader(loud)), func() {}, func() {})
	if took := time.Since(start); took < eventWindow {
		t.Errorf("%d bytes took %v", len(loud), took)
	}
}

func TestWatchRefused(t *testing.T) {
	s := daemon(t, map[string]http.HandlerFunc{"events": func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, strings.Repeat("x", 1<<20), http.StatusForbidden)
	}})
	if err := Watch(t.Context(), s, time.Second, func() { t.Error("changed") }); !errors.Is(err, ErrMalformed) || len(err.Error()) > 200 {
		t.Errorf("got %v", err)
	}
}

// fixed answers each endpoint of a daemon from memory.
func fixed(t *testing.T, version, system []byte) *client.Client {
	t.Helper()
	answer := roundTrip(func(r *http.Request) (*http.Response, error) {
		body := []byte(`OK`)
		switch {
		case strings.HasSuffix(r.URL.Path, "/version"):
			body = version
		case strings.HasSuffix(r.URL.Path, "/info"):
			body = system
		}
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
	})
	c, err := client.NewClientWithOpts(client.WithHost("tcp://docker:1"), client.WithHTTPClient(&http.Client{Transport: &strict{next: answer}}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func FuzzDescribe(f *testing.F) {
	f.Add([]byte(`{"Version":"28.5.2","ApiVersion":"1.51","Components":[{"Name":"Engine"}]}`), []byte(`{"FirewallBackend":{"Driver":"iptables"}}`))
	f.Fuzz(func(t *testing.T, version, system []byte) {
		info, err := describe(t.Context(), fixed(t, version, system))
		if err != nil {
			return
		}
		for _, word := range []string{info.Version, info.API, string(info.FirewallBackend)} {
			if len(word) > maxText || strings.ContainsAny(word, "\x00\x1b\n\r\u202e") {
				t.Errorf("let through: %q", word)
			}
		}
		for _, r := range info.Rejected {
			if len(r) > 500 {
				t.Errorf("told as %q", r)
			}
		}
	})
}
