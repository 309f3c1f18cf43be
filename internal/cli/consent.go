package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	apiv1 "labd/api/v1"
)

// agree asks the person for a yes. Without a terminal there is nobody to ask.
func (a *app) agree(ctx context.Context, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(a.in) {
		return &Error{apiv1.ErrorRefused, "nothing was done: this changes the host, and nobody is at a terminal to agree", "--yes agrees beforehand; --dry-run or plan only shows"}
	}
	fmt.Fprint(a.stderr, "Do this? [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.in).ReadString('\n')
		answer <- line
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return &Error{apiv1.ErrorRefused, "nothing was done", ""}
	}
}

// carryOut asks for a plan, shows it, asks for consent and applies it.
func (a *app) carryOut(ctx context.Context, c *client, req apiv1.PlanRequest, yes bool) error {
	p, err := a.planFor(ctx, c, req)
	if err != nil {
		return err
	}
	people := a.flags.output == formatTable || a.flags.output == formatWide
	if people {
		a.printPlan(p)
	}
	if len(p.Steps) == 0 {
		if people {
			a.printf("Nothing to do.\n")
			return nil
		}
		return emitJournal(a, apiv1.Envelope[apiv1.JournalItem]{APIVersion: apiv1.APIVersion, Kind: apiv1.KindJournalReport, Items: []apiv1.JournalItem{}, Findings: []apiv1.Finding{}})
	}
	if err := a.agree(ctx, yes); err != nil {
		return err
	}
	req.Digest = p.Digest
	path, body := "/v1/plans/apply", any(req)
	if req.Action == apiv1.ActionUndo {
		path, body = "/v1/journal/"+req.IDs[0]+"/undo", apiv1.UndoRequest{Digest: p.Digest}
	}
	var done apiv1.Envelope[apiv1.JournalItem]
	stop := a.followSteps(ctx, c, p)
	err = c.change(ctx, path, body, &done)
	stop()
	if err != nil {
		return err
	}
	if !people {
		return emitJournal(a, done)
	}
	for _, item := range done.Items {
		text := fmt.Sprintf("Done: %d of %d steps, each verified.", item.StepsDone, item.Steps)
		if item.Undoable {
			text += " labctl undo " + item.ID + " takes it back."
		}
		a.line("", text)
	}
	return nil
}

func (a *app) planFor(ctx context.Context, c *client, req apiv1.PlanRequest) (apiv1.Plan, error) {
	var envelope apiv1.Envelope[apiv1.Plan]
	if err := c.post(ctx, "/v1/plans", req, &envelope); err != nil {
		return apiv1.Plan{}, err
	}
	if len(envelope.Items) != 1 {
		return apiv1.Plan{}, fmt.Errorf("labd answered with %d plans instead of one", len(envelope.Items))
	}
	return envelope.Items[0], nil
}

// showPlan prints the plan of a request and does nothing.
func (a *app) showPlan(ctx context.Context, c *client, req apiv1.PlanRequest) error {
	var envelope apiv1.Envelope[apiv1.Plan]
	if err := c.post(ctx, "/v1/plans", req, &envelope); err != nil {
		return err
	}
	return emit(a, envelope, func(p apiv1.Plan) string { return p.Digest }, func(bool) {
		for _, p := range envelope.Items {
			a.printPlan(p)
			if len(p.Steps) == 0 {
				a.printf("Nothing to do.\n")
			}
		}
	})
}
