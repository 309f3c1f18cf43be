// Command attacker is what a hostile container runs in the tests: each of its words is an attack that goes on until it is
// killed. Two of them are for a user of the host who is not root.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: attacker docker | fuse DIR | monitor NAME | sockets N")
	}
	switch os.Args[1] {
	case "docker":
		fail(playDocker())
	case "fuse":
		fail(mountMute(os.Args[2]))
	case "monitor":
		fail(playMonitor(os.Args[2]))
	case "sockets":
		fail(openSockets(os.Args[2]))
	}
	fail("no attack of that name")
}

func fail(what any) {
	fmt.Fprintln(os.Stderr, "attacker:", what)
	os.Exit(1)
}

// playDocker is a daemon that lies, in turn: it claims networks that are others', answers megabytes, a byte a second, or floods
// its listener with events.
func playDocker() error {
	const path = "/run/docker.sock"
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	start := time.Now()
	mode := func() int { return int(time.Since(start)/(4*time.Second)) % 4 }
	return (&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.51")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/version"):
			fmt.Fprintf(w, `{"Version":"28.5.2%s","ApiVersion":"1.51"}`, strings.Repeat("\u202e", 100))
		case strings.HasSuffix(r.URL.Path, "/events"):
			for {
				if _, err := io.WriteString(w, `{"Type":"network","Action":"create"}`+"\n"); err != nil {
					return
				}
			}
		case strings.HasSuffix(r.URL.Path, "/networks"):
			switch mode() {
			case 0, 1:
				claim(w)
			case 2:
				_, _ = io.WriteString(w, `[{"Name":"`)
				for range 10_000 {
					if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
						return
					}
				}
			case 3:
				for {
					if _, err := io.WriteString(w, " "); err != nil {
						return
					}
					w.(http.Flusher).Flush()
					time.Sleep(time.Second)
				}
			}
		case strings.HasSuffix(r.URL.Path, "/containers/json"):
			ports := strings.Repeat(`{"PrivatePort":80,"PublicPort":81,"IP":"0.0.0.0","Type":"tcp"},`, 20_000)
			fmt.Fprintf(w, `[{"Names":["/x"],"State":"running","Ports":[%s]}]`, strings.TrimSuffix(ports, ","))
		default:
			fmt.Fprint(w, `{}`)
		}
	})}).Serve(listener)
}

// claim answers networks on the container's own interfaces, with subnets that are the host's, the LAN's, the honest container's,
// the resolvers' or anybody's.
func claim(w io.Writer) {
	theirs := []string{
		"10.77.0.0/24", "10.77.0.1/32", "172.17.0.0/16", "172.17.0.0/17", "172.18.0.0/16", "192.168.1.0/24", "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1",
		"10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "9.9.9.9/32", "1.1.1.1/32", "::/0", "fd00:77::/64", "fe80::/64",
	}
	var list []string
	for i := range 500 {
		subnet := fmt.Sprintf("%d.%d.%d.0/%d", 1+rand.IntN(223), rand.IntN(256), rand.IntN(256), 8+rand.IntN(25))
		if i < len(theirs) {
			subnet = theirs[i]
		}
		list = append(list, fmt.Sprintf(`{"Id":"%064d","Name":"n%d","Driver":"bridge","Options":{"com.docker.network.bridge.name":"br-evil"},"IPAM":{"Config":[{"Subnet":%q}]}}`, i, i, subnet))
	}
	fmt.Fprintf(w, "[%s]", strings.Join(list, ","))
}

// mountMute mounts a FUSE file system whose server never answers.
func mountMute(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := syscall.Mount("mute", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd())); err != nil {
		return err
	}
	for {
		time.Sleep(time.Hour)
	}
}

// playMonitor poses as a container's monitor, and names its own process as the container's first.
func playMonitor(name string) error {
	listener, err := net.Listen("unix", name)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		answer := make([]byte, 16)
		binary.NativeEndian.PutUint64(answer[8:], uint64(os.Getpid()))
		_, _ = conn.Write(answer)
	}
}

// openSockets opens unix sockets, each a line of /proc/net/unix.
func openSockets(number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	limit := syscall.Rlimit{}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for i := range n {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			return fmt.Errorf("socket %d: %w", i, err)
		}
		if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: fmt.Sprintf("@attack/%060d", i)}); err != nil {
			return fmt.Errorf("socket %d: %w", i, err)
		}
	}
	fmt.Println("open")
	for {
		time.Sleep(time.Hour)
	}
}
