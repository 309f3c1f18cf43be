package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	apiv1 "labd/api/v1"
)

const (
	// lifeAfter is how long an answer may take before a person at a terminal is told that labctl still waits.
	lifeAfter = 2 * time.Second
	// lastEvents is how long the last events of a plan are waited for after its answer came.
	lastEvents = 300 * time.Millisecond
	// joinEvents is how long labctl waits for the stream of events before it begins without.
	joinEvents = 2 * time.Second
)

// signOfLife tells a person at a terminal, on standard error, for how long labctl has waited; stop takes the line away.
func (a *app) signOfLife(ctx context.Context) (stop func()) {
	if a.flags.quiet || !isTerminal(a.stderr) {
		return func() {}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		begin := time.Now()
		ticker := time.NewTicker(lifeAfter)
		defer ticker.Stop()
		for shown := false; ; {
			select {
			case <-done:
				if shown {
					fmt.Fprint(a.stderr, clearLine)
				}
				return
			case <-ticker.C:
				until := ""
				if deadline, ok := ctx.Deadline(); ok {
					until = " of " + span(deadline.Sub(begin).Round(time.Second))
				}
				fmt.Fprintf(a.stderr, "%slabctl: labd is looking, %s%s …", clearLine, span(time.Since(begin)), until)
				shown = true
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
}

// clearLine goes to the beginning of the line and clears it (ECMA-48 EL).
const clearLine = "\r\x1b[K"

// followSteps prints a line for each step of a plan as labd carries it out, on standard error. It is over when stop
// returns. Without events, as from an older labd, nothing is printed.
func (a *app) followSteps(ctx context.Context, c *client, p apiv1.Plan) (stop func()) {
	a.changing = true
	wait := c.wait
	c.wait = nil // the steps are the sign of life
	if a.flags.quiet || a.flags.output != formatTable && a.flags.output != formatWide {
		return func() { c.wait = wait }
	}
	ctx, cancel := context.WithCancel(ctx)
	joined, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		a.readSteps(ctx, c, p, sync.OnceFunc(func() { close(joined) }))
	}()
	select {
	case <-joined:
	case <-ended:
	case <-time.After(joinEvents):
	}
	return func() {
		select {
		case <-ended:
		case <-time.After(lastEvents):
		}
		cancel()
		<-ended
		c.wait = wait
	}
}

// readSteps reads the stream of events until the plan's last step ended or failed.
func (a *app) readSteps(ctx context.Context, c *client, p apiv1.Plan, joined func()) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://labd/v1/events", nil)
	if err != nil {
		return
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return
	}
	joined()
	kind := ""
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kind = name
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || kind != apiv1.EventPlanStep {
			continue
		}
		var step apiv1.StepProgress
		if json.Unmarshal([]byte(data), &step) != nil || step.Digest != p.Digest {
			continue
		}
		a.printStep(step)
		if step.Phase == apiv1.StepFailed || step.Phase == apiv1.StepDone && step.Step == step.Steps {
			return
		}
	}
}

// printStep prints that a step began or ended: on a terminal one line that changes, elsewhere a line for each that ended.
func (a *app) printStep(step apiv1.StepProgress) {
	text := fmt.Sprintf("step %d of %d", step.Step, step.Steps)
	switch {
	case isTerminal(a.stderr) && step.Phase == apiv1.StepBegun:
		line := escape(text + ": " + step.Title + " …")
		if width := a.width(); width > 0 {
			line = wrapText(line, width-1)[0] // what is longer would not be cleared
		}
		fmt.Fprint(a.stderr, line)
		return
	case step.Phase == apiv1.StepBegun:
		return
	case isTerminal(a.stderr):
		fmt.Fprint(a.stderr, clearLine)
	}
	a.complain(text+" "+string(step.Phase)+": ", step.Title)
}
