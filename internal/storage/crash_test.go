package storage

import (
	"errors"
	"testing"

	"labd/internal/plan"
	"labd/test/crash"
)

// labd killed at every point of a removal, with and without references, of a switching off, and of their undo.
func TestStorageKilledAnywhere(t *testing.T) {
	remove := func(o Options) func(f *Facts, r *Report) (*plan.Plan, error) {
		return func(f *Facts, r *Report) (*plan.Plan, error) { return PlanRemoval(f, r, []string{"usb1"}, o) }
	}
	const guests = "\n-- etc/pve/nodes/pve1/qemu-server/100.conf --\nide2: usb1:iso/debian.iso,media=cdrom,size=1M\n" +
		"-- etc/pve/jobs.cfg --\nvzdump: backup-1\n\tschedule 02:00\n\tstorage usb1\n\tall 1\n\n-- etc/vzdump.conf --\n# defaults\nstorage: usb1\nmode: snapshot\n"
	for name, c := range map[string]struct {
		patches []string
		plan    func(f *Facts, r *Report) (*plan.Plan, error)
	}{
		"remove":     {[]string{pulled}, remove(Options{})},
		"references": {[]string{pulled, guests}, remove(Options{FixRefs: true})},
		"disable": {[]string{pulled}, func(f *Facts, r *Report) (*plan.Plan, error) {
			if s := f.Config.Section("usb1"); s != nil && s.Disabled() {
				return nil, nil
			}
			return PlanDisable(f, r, []string{"usb1"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "remove" {
				t.Skip("some dozens of worlds")
			}
			crash.Everywhere(t, func(t *testing.T) crash.World {
				b := newBench(t, c.patches...)
				return crash.World{
					Runner: b.runner,
					Plan: func() (*plan.Plan, error) {
						p, err := c.plan(look(b.T, b.host))
						var refused *plan.RefusedError
						if errors.As(err, &refused) {
							return nil, nil // nothing is left that labd would do
						}
						return p, err
					},
					State: func() any { return b.snapshot() },
				}
			})
		})
	}
}
