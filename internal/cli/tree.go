package cli

import (
	"strings"

	"github.com/spf13/cobra"

	apiv1 "labd/api/v1"
)

func (a *app) treeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "tree", Short: "What runs where: LXC containers, compose projects, Docker containers, networks, routes", Args: noArgs,
		Example: "  labctl tree\n  labctl tree -o wide",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client) error {
				var report apiv1.Envelope[apiv1.TreeItem]
				if err := c.get(cmd.Context(), "/v1/tree?fresh=1", &report); err != nil {
					return err
				}
				return emit(a, report, func(i apiv1.TreeItem) string { return i.ID }, func(wide bool) { a.printTree(report.Items, wide) })
			})
		},
	}
}

// printTree draws the items, which come in the order of the tree.
func (a *app) printTree(items []apiv1.TreeItem, wide bool) {
	rows := make([][]string, 0, len(items))
	for i, item := range items {
		row := []string{strings.ReplaceAll(branches(items, i)+string(item.Kind)+" "+item.Name, " ", noBreak), string(item.Health), item.State}
		if wide {
			row = append(row, item.ID)
		}
		rows = append(rows, row)
	}
	header := []string{"WHAT", "HEALTH", "STATE"}
	if wide {
		header = append(header, "ID")
	}
	a.tableRows(header, rows, func(r int) apiv1.Health { return items[r].Health })
}

// branches are the lines before an item: a level goes on where a later item of that depth comes before one of less.
func branches(items []apiv1.TreeItem, i int) string {
	var b strings.Builder
	goesOn := func(depth int) bool {
		for _, later := range items[i+1:] {
			if later.Depth <= depth {
				return later.Depth == depth
			}
		}
		return false
	}
	for depth := 1; depth < items[i].Depth; depth++ {
		if goesOn(depth) {
			b.WriteString("│  ")
		} else {
			b.WriteString("   ")
		}
	}
	switch {
	case items[i].Depth == 0:
	case goesOn(items[i].Depth):
		b.WriteString("├─ ")
	default:
		b.WriteString("└─ ")
	}
	return b.String()
}
