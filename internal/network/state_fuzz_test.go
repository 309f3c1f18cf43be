package network

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"labd/internal/statefile"
)

// Whatever stands in the files of state, they are read, and the switch is on only where they say so in labd's own word.
func FuzzState(f *testing.F) {
	f.Add([]byte("on\n"), []byte(`{"172.18.0.0/24":"101/web"}`))
	f.Add([]byte("off"), []byte(`["net.ipv4.ip_forward"]`))
	f.Fuzz(func(t *testing.T, onOff, owners []byte) {
		dir := t.TempDir()
		s := NewState(dir)
		if err := os.WriteFile(s.file(switchFile), onOff, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{ownersFile, forwardingList} {
			if json.Valid(owners) && len(owners) < 1<<12 {
				_ = statefile.New(s.file(name), stateVersion).Save(json.RawMessage(owners))
			}
		}
		if on, err := s.Switch(); err == nil && on == SwitchOn && strings.TrimSpace(string(onOff)) != SwitchOn {
			t.Errorf("%q is on", onOff)
		}
		_, _ = s.owners(), s.forwarding()
	})
}
