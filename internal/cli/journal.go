package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) journalCommand() *cobra.Command {
	return &cobra.Command{
		Use: "journal [ID]", Short: "What labd changed on this host, newest first; with ID each step of one change",
		Long: `Lists what labd changed on this host, the newest change first. With the ID of an entry it shows each step of that change:
what was done, how, what was there before, how it was checked, when, and the error where one came.`,
		Example: "  labctl journal\n  labctl journal 3",
		Args:    atMostOne("journal entry"), ValidArgsFunction: a.complete(1, entryValues),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *client) error {
				if len(args) == 1 {
					return a.showEntry(cmd.Context(), c, args[0])
				}
				var report apiv1.Envelope[apiv1.JournalItem]
				if err := c.get(cmd.Context(), "/v1/journal", &report); err != nil {
					return err
				}
				return emitJournal(a, report)
			})
		},
	}
}

// showEntry prints one change, step by step.
func (a *app) showEntry(ctx context.Context, c *client, id string) error {
	var report apiv1.Envelope[apiv1.JournalItem]
	if err := c.get(ctx, "/v1/journal/"+url.PathEscape(id), &report); err != nil {
		return err
	}
	return emit(a, report, func(e apiv1.JournalItem) string { return e.ID }, func(bool) {
		for _, e := range report.Items {
			a.printEntry(e)
		}
	})
}

func (a *app) printEntry(e apiv1.JournalItem) {
	a.line("", "Entry "+e.ID+": "+e.Title)
	state := string(e.State)
	if e.State == apiv1.JournalUnended {
		state = "without an end: it runs now, or labd was killed"
	}
	a.line("  state:    ", fmt.Sprintf("%s, %d of %d steps", state, e.StepsDone, e.Steps))
	when := e.Time.Local().Format(time.DateTime)
	if e.EndedAt != nil {
		when += " to " + e.EndedAt.Local().Format(time.TimeOnly)
	}
	a.line("  when:     ", when)
	a.line("  who:      ", e.Actor)
	if len(e.Subjects) > 0 {
		a.line("  subjects: ", strings.Join(e.Subjects, ", "))
	}
	if e.Undoes != "" {
		a.line("  undoes:   ", "entry "+e.Undoes)
	}
	if e.UndoneBy != "" {
		a.line("  undone:   ", "by entry "+e.UndoneBy)
	}
	if e.Error != "" {
		a.line("  error:    ", e.Error)
	}
	for i, s := range e.StepList {
		a.printf("\n")
		a.line("  "+itoa(i+1)+". ", s.Title+" ("+stepOutcome(s)+")")
		a.line("       how:    ", s.How)
		if s.Former != "" {
			a.line("       before: ", s.Former)
		}
		a.line("       verify: ", s.Verify)
		switch {
		case s.Undo != "":
			a.line("       undo:   ", s.Undo)
		case !s.Undoable && e.Undoes == "":
			a.line("       undo:   ", "cannot be taken back")
		}
		if s.BegunAt != nil {
			at := s.BegunAt.Local().Format(time.DateTime)
			if s.EndedAt != nil {
				at += fmt.Sprintf(", %.1f s", s.EndedAt.Sub(*s.BegunAt).Seconds())
			}
			a.line("       when:   ", at)
		}
		if s.Error != "" {
			a.line("       error:  ", s.Error)
		}
	}
	if e.Undoable {
		a.printf("\nlabctl undo %s takes it back.\n", e.ID)
	}
}

// stepOutcome is how a step ended, in words.
func stepOutcome(s apiv1.JournalStep) string {
	switch {
	case s.Done:
		return "done and verified"
	case s.Error != "" && s.Begun:
		return "failed; it may have changed something"
	case s.Error != "":
		return "failed before it changed anything"
	case s.Begun:
		return "begun, and never ended"
	default:
		return "not begun"
	}
}

func emitJournal(a *app, report apiv1.Envelope[apiv1.JournalItem]) error {
	return emit(a, report, func(i apiv1.JournalItem) string { return i.ID }, func(wide bool) {
		if len(report.Items) == 0 {
			a.printf("labd has changed nothing on this host yet.\n")
			return
		}
		header := []string{"ID", "WHEN", "WHO", "STATE", "STEPS", "UNDO", "WHAT"}
		if wide {
			header = append(header, "ERROR")
		}
		rows := make([][]string, 0, len(report.Items))
		for _, i := range report.Items {
			undo := "no"
			switch {
			case i.UndoneBy != "":
				undo = "undone by " + i.UndoneBy
			case i.Undoes != "":
				undo = "undoes " + i.Undoes
			case i.Undoable:
				undo = "yes"
			}
			row := []string{i.ID, i.Time.Local().Format(time.DateTime), i.Actor, string(i.State), itoa(i.StepsDone) + "/" + itoa(i.Steps), undo, i.Title}
			if wide {
				row = append(row, i.Error)
			}
			rows = append(rows, row)
		}
		a.tableRows(header, rows, nil)
	})
}
