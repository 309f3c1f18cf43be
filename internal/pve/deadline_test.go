package pve_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"labd/internal/pve"
	"labd/test/pvesim"
)

// An API that never answers costs no more than the client's own time, whoever asks without a deadline: one whose port takes
// connections and says nothing, and one that has shaken hands and then says nothing.
func TestClientIsNeverAnswered(t *testing.T) {
	const limit = 300 * time.Millisecond
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close() // the kernel makes the connections, and nobody accepts them
	_, other, _ := setup(t, nil)
	silent, err := pve.NewClient(pve.ClientConfig{
		BaseURL: "https://" + mute.Addr().String(), CA: other.CA(), Node: "pve1", Token: "a@pam!b=c", Timeout: limit, DialTimeout: limit,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, sim, stalled := setup(t, func(_ *pvesim.Config, c *pve.ClientConfig) { c.Timeout = limit })
	sim.Inject(pvesim.Fault{Delay: time.Minute})
	for name, c := range map[string]*pve.Client{"no handshake": silent, "no answer": stalled} {
		for what, ask := range map[string]func(context.Context) error{
			"a question": func(ctx context.Context) error { _, err := c.Version(ctx); return err },
			"a change":   func(ctx context.Context) error { return c.DeleteStorage(ctx, "usb1") },
		} {
			start := time.Now()
			err := ask(t.Context())
			if took := time.Since(start); err == nil || took > 20*limit {
				t.Errorf("%s, %s: %v after %s", name, what, err, took)
			}
			if name == "no answer" && what == "a change" && !errors.Is(err, pve.ErrUnknownOutcome) {
				t.Errorf("%s, %s: %v, and the change may have been made", name, what, err)
			}
		}
	}
}
