package e2e

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"labd/test/lab"
)

// BenchmarkNetworkCreated is the time from Docker's own event of a new network to the first answer that a LAN client gets
// from an address in it. The client asks every 5 ms.
func BenchmarkNetworkCreated(b *testing.B) {
	l, err := lab.Start(b.Context(), lab.Config{Name: "bench-net"})
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	ct, err := l.AddContainer(b.Context(), lab.Container{ID: 101})
	if err != nil {
		b.Fatal(err)
	}
	if err := ct.WaitDocker(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := l.InstallLabd(bin, unitFile, "[network]\nmode = \"reconcile\"\n"); err != nil {
		b.Fatal(err)
	}
	if _, err := l.StartLabd(b.Context()); err != nil {
		b.Fatal(err)
	}
	var times []time.Duration
	for i := 0; b.Loop(); i++ {
		times = append(times, networkCreated(b, l, ct, i%200))
	}
	reportMedian(b, times)
	b.ReportMetric(0, "ns/op")
}

// networkCreated makes a network and takes it away again.
func networkCreated(b *testing.B, l *lab.Lab, ct *lab.CT, number int) time.Duration {
	b.Helper()
	name := fmt.Sprintf("bench%d", number)
	ping := l.LANCommand(b.Context(), "ping", "-D", "-n", "-i", "0.005", "-W", "5", fmt.Sprintf("172.30.%d.1", number))
	out, err := ping.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := ping.Start(); err != nil {
		b.Fatal(err)
	}
	answered := make(chan time.Time, 1)
	go func() {
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			stamp, rest, _ := strings.Cut(strings.TrimPrefix(scanner.Text(), "["), "] ")
			if seconds, err := strconv.ParseFloat(stamp, 64); err == nil && strings.Contains(rest, "bytes from") {
				answered <- time.UnixMicro(int64(seconds * 1e6))
				break
			}
		}
	}()
	since := strconv.FormatInt(time.Now().Unix()-1, 10)
	if _, err := ct.Docker(b.Context(), "network", "create", "--subnet", fmt.Sprintf("172.30.%d.0/24", number), name); err != nil {
		b.Fatal(err)
	}
	var at time.Time
	select {
	case at = <-answered:
	case <-time.After(20 * time.Second):
		b.Fatal("no answer in 20 s")
	}
	_ = ping.Process.Kill()
	_ = ping.Wait()
	until := strconv.FormatInt(time.Now().Unix()+1, 10)
	events, err := ct.Docker(b.Context(), "events", "--since", since, "--until", until, "--filter", "type=network", "--filter", "event=create", "--format", "{{.Actor.Attributes.name}} {{.TimeNano}}")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := ct.Docker(b.Context(), "network", "rm", name); err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(events) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			nanoseconds, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return at.Sub(time.Unix(0, nanoseconds))
		}
	}
	b.Fatalf("no event of %s in %q", name, events)
	return 0
}
