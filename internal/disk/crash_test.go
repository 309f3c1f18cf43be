package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labd/internal/host"
	"labd/internal/plan"
	"labd/test/crash"
	"labd/test/fixture"
)

// labd killed at every point of a rescue, and of its undo: the function is on the bus again in the end.
func TestRescueKilledAnywhere(t *testing.T) {
	crash.Everywhere(t, func(t *testing.T) crash.World {
		dir, o := tree(t, fixture.P7000Z, "6.2.16-3-pve")
		k := &fakeKernel{t: t, dir: dir}
		k.do = func(path, _ string) error {
			if strings.HasSuffix(path, "/remove") {
				return k.vanish()
			}
			if _, err := os.Lstat(k.link()); err == nil {
				return nil // a rescan finds what is there already
			}
			return errors.Join(k.appear(), k.comesUp())
		}
		paths := host.DefaultPaths()
		paths.Sysfs = filepath.Join(dir, "sys")
		a := &Applier{host.New(paths, ""), k.write, 300 * time.Millisecond}
		return crash.World{
			Runner: &plan.Runner{Journal: plan.NewJournal(t.TempDir(), time.Now), Ops: a.Ops()},
			Plan: func() (*plan.Plan, error) {
				if _, err := os.Lstat(filepath.Join(k.link(), "driver")); err == nil {
					return nil, nil // it came up
				}
				return PlanRescue(look(t, o), "0000:02:00.0", "")
			},
			State: func() any { _, err := os.Lstat(k.link()); return err == nil },
		}
	})
}
