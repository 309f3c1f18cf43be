package cli

import (
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
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client) error {
				var report apiv1.Envelope[apiv1.JournalItem]
				if err := c.get(cmd.Context(), "/v1/journal", &report); err != nil {
					return err
				}
				return emitJournal(a, report)
			})
		},
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
