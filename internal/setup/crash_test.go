package setup_test

import (
	"regexp"
	"testing"

	"labd/internal/plan"
	"labd/test/crash"
)

// labd killed at every point of the plan that makes its token, and of the undo.
func TestSetupKilledAnywhere(t *testing.T) {
	secret := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}`)
	crash.Everywhere(t, func(t *testing.T) crash.World {
		b := newBed(t)
		return crash.World{
			Runner: b.runner,
			Plan:   func() (*plan.Plan, error) { return b.plan(false) },
			State: func() any {
				out := map[string]string{}
				for _, file := range []string{"etc/pve/user.cfg", "etc/pve/priv/token.cfg", "etc/labd/token"} {
					out[file] = secret.ReplaceAllString(b.read(file), "SECRET")
				}
				return out
			},
		}
	})
}
