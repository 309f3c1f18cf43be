package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"unicode"
)

// A daemon's own words may be as long as an answer and hold any byte; none of that is passed on.
func TestHostileWords(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	for name, word := range map[string]string{"long": long, "control bytes": "28\x1b[2J", "a line break": "28\n", "turned around": "28\u202e", "65 bytes": long[:maxText+1]} {
		text, err := json.Marshal(word)
		if err != nil {
			t.Fatal(err)
		}
		info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"version": reply(fmt.Sprintf(`{"Version":%s,"ApiVersion":%s}`, text, text))}))
		if err != nil || info.Version != "" || info.API != "" || len(info.Rejected) != 2 {
			t.Errorf("%s as a version: %.100v, %v", name, info, err)
			continue
		}
		for _, r := range info.Rejected {
			if len(r) > 400 || strings.ContainsFunc(r, unicode.IsControl) {
				t.Errorf("%s: told as %.200q", name, r)
			}
		}
		if _, err := discover(t, daemon(t, map[string]http.HandlerFunc{"info": reply(fmt.Sprintf(`{"FirewallBackend":{"Driver":%s}}`, text))})); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s as a backend: %v", name, err)
		}
	}
	info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"version": reply(`{"Version":"` + long[:maxText] + `","ApiVersion":"1.51"}`)}))
	if err != nil || len(info.Version) != maxText || len(info.Rejected) != 0 {
		t.Errorf("a version as long as allowed: %+v, %v", info, err)
	}
}

// An error message of the daemon is as long as it likes; what is kept of it is not.
func TestHostileErrors(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, answer := range map[string]http.HandlerFunc{
		"message": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, `{"message":%q}`, long)
		},
		"plain":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, long, http.StatusInternalServerError) },
		"wrong value": reply(`[{"Name":{"` + long + `":1}}]`),
		"header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", long)
			fmt.Fprint(w, `[]`)
		},
	} {
		_, err := discover(t, daemon(t, map[string]http.HandlerFunc{"networks": answer}))
		if err == nil || len(err.Error()) > 2*maxMessage {
			t.Errorf("%s: %.2000v", name, err)
		}
	}
}

// Lists within lists have limits too.
func TestHostileLists(t *testing.T) {
	list := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	subnets := func(n int) string {
		return `[{"Id":"0123456789abcdef","Name":"n","Driver":"bridge","IPAM":{"Config":` + list(n, `{"Subnet":"172.20.0.0/16"}`) + `}}]`
	}
	for n, want := range map[int]int{maxSubnets: 1, maxSubnets + 1: 0} {
		info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"networks": reply(subnets(n))}))
		if err != nil || len(info.Networks) != want || len(info.Rejected) != 1-want {
			t.Errorf("%d subnets: %+v, %v", n, info, err)
		}
	}
	ports := func(n int, port string) http.HandlerFunc {
		return reply(`[{"Names":["/c"],"State":"running","Ports":` + list(n, port) + `}]`)
	}
	small := `{"PrivatePort":1,"Type":"tcp"}`
	if info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"containers": ports(MaxPorts, small)})); err != nil || len(info.Containers[0].Ports) != MaxPorts {
		t.Errorf("as many ports as allowed: %v", err)
	}
	if _, err := discover(t, daemon(t, map[string]http.HandlerFunc{"containers": ports(MaxPorts+1, small)})); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	// What is wrong is said once for a container, and so often at most for all of them.
	info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"containers": ports(1000, `{"PrivatePort":1,"Type":"tcp\u0007"},{"PrivatePort":2,"PublicPort":2,"IP":"\u001b[2J","Type":"tcp"},`+small)}))
	if err != nil || len(info.Rejected) != 1 || len(info.Containers[0].Ports) != 1000 {
		t.Errorf("bad ports: %v, %v", info, err)
	}
	for n, want := range map[int]string{maxRejected: `a container is called ""`, maxRejected + 7: "7 more things are left out"} {
		info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"containers": reply(list(n, `{"Names":["/"]}`))}))
		if err != nil || info.Rejected[len(info.Rejected)-1] != want || len(info.Rejected) > maxRejected+1 {
			t.Errorf("%d rejected: %q, %v", n, info.Rejected, err)
		}
	}
}

// What decides about a network makes sense, or the network is left out; what does not is left out by itself.
func TestHostileFields(t *testing.T) {
	network := func(id, driver, label, mode, mode6 string) string {
		b, _ := json.Marshal(map[string]any{
			"Id": id, "Name": "n", "Driver": driver, "Labels": map[string]string{"labd.mode": label},
			"Options": map[string]string{"com.docker.network.bridge.gateway_mode_ipv4": mode, "com.docker.network.bridge.gateway_mode_ipv6": mode6},
			"IPAM":    map[string]any{"Config": []any{}},
		})
		return "[" + string(b) + "]"
	}
	const id = "0123456789abcdef"
	long := strings.Repeat("x", 129)
	for text, good := range map[string]bool{
		network(id, "bridge", "off", "nat", "routed"):                     true,
		network(id, "registry.example/me/plugin:latest", "", "", ""):      true,
		network(long[:128], "bridge", long[:128], long[:128], long[:128]): true,
		network(long, "bridge", "", "", ""):                               false,
		network(id, long, "", "", ""):                                     false,
		network(id, "bridge", long, "", ""):                               false,
		network(id, "bridge", "", long, ""):                               false,
		network(id, "bridge", "", "", long):                               false,
		network(id, "bridge", "off\n", "", ""):                            false,
		network(id, "bridge", "off ", "", ""):                             false,
		network(id, "bridge\x00", "", "", ""):                             false,
	} {
		info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"networks": reply(text)}))
		if err != nil || good != (len(info.Networks) == 1) || good != (len(info.Rejected) == 0) {
			t.Errorf("%.300s: %+v, %v", text, info, err)
		}
	}
	info, err := discover(t, daemon(t, map[string]http.HandlerFunc{"containers": reply(`[{"Names":["/c"],"Ports":[{"PrivatePort":80,"PublicPort":81,"IP":"fe80::1%eth0","Type":"tcp"},{"PrivatePort":82,"PublicPort":83,"IP":"","Type":"udp"}],
		"NetworkSettings":{"Networks":{"a b":{"IPAddress":"172.17.0.2"},"ok":{"IPAddress":"172.17.0.3","GlobalIPv6Address":"fe80::1%eth0"},"none":null}}}]`)}))
	if err != nil {
		t.Fatal(err)
	}
	c := info.Containers[0]
	if len(c.Addresses) != 1 || len(c.Addresses["ok"]) != 1 || c.Ports[0].PublishedOn != "fe80::1" || c.Ports[1].PublishedOn != "0.0.0.0" || len(info.Rejected) != 1 {
		t.Errorf("%+v, rejected %q", c, info.Rejected)
	}
}

// All of a large answer costs a few times its size, not more.
func TestMemoryOfALargeAnswer(t *testing.T) {
	var networks strings.Builder
	networks.WriteString("[")
	for i := range MaxNetworks {
		fmt.Fprintf(&networks, `{"Id":"%064d","Name":"n%d","Driver":"bridge","Options":{"x":"%s"},"IPAM":{"Config":[{"Subnet":"172.20.0.0/16"}]}},`, i, i, strings.Repeat("y", 12<<10))
	}
	text := strings.TrimSuffix(networks.String(), ",") + "]"
	socket := daemon(t, map[string]http.HandlerFunc{"networks": reply(text)})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	info, err := discover(t, socket)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err != nil || len(info.Networks) != MaxNetworks {
		t.Fatal(err)
	}
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 4<<20 {
		t.Errorf("%d bytes are kept of an answer of %d", kept, len(text))
	}
	runtime.KeepAlive(info)
}
