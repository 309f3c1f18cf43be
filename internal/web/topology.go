package web

import (
	"fmt"

	apiv1 "labd/api/v1"
)

// Measures of the drawing of the tree, in pixels of the SVG.
const (
	columnWidth = 196
	boxWidth    = 168
	rowHeight   = 34
	boxHeight   = 26
)

// tree is the tree as a drawing: a column for each kind, node to route, and a row for each thing that nothing hangs from.
type tree struct {
	Width, Height int
	Boxes         []box
	Edges         []edge
	Columns       []column
	// Roots is the same as nested lists, for narrow screens and screen readers.
	Roots []*branch
}

// box is one thing in the drawing.
type box struct {
	apiv1.TreeItem
	X, Y, W, H int
}

// edge is a line from a thing to what hangs from it. One that leads to something broken is drawn broken.
type edge struct {
	Path   string
	Health apiv1.Health
}

// column is the title of a column.
type column struct {
	Title string
	X     int
}

// branch is a thing with what hangs from it.
type branch struct {
	apiv1.TreeItem
	Children []*branch
}

// columns are the kinds from left to right.
var columns = []struct {
	kind  apiv1.TreeKind
	title string
}{
	{apiv1.TreeNode, "node"},
	{apiv1.TreeLXC, "LXC container"},
	{apiv1.TreeProject, "compose project"},
	{apiv1.TreeContainer, "Docker container"},
	{apiv1.TreeNetwork, "network"},
	{apiv1.TreeRoute, "route"},
}

// newTree lays the items out, which come each behind the one that it hangs from; nil where there are none but the node.
// It is a pure function, linear in the number of items.
func newTree(items []apiv1.TreeItem) *tree {
	t := &tree{}
	byID := map[string]*branch{}
	for _, item := range items {
		b := &branch{TreeItem: item}
		if parent := byID[item.Parent]; parent != nil {
			parent.Children = append(parent.Children, b)
		} else {
			t.Roots = append(t.Roots, b)
		}
		byID[item.ID] = b
	}
	if len(items) < 2 {
		return nil
	}
	rows := 0
	for _, root := range t.Roots {
		t.place(root, &rows)
	}
	for i, c := range columns {
		t.Columns = append(t.Columns, column{c.title, i * columnWidth})
	}
	t.Width, t.Height = (len(columns)-1)*columnWidth+boxWidth, rows*rowHeight
	return t
}

// place gives a branch its boxes, and returns the height of the middle of its own: between its first and its last child.
func (t *tree) place(b *branch, rows *int) (y int) {
	x := columnOf(b.Kind) * columnWidth
	if len(b.Children) == 0 {
		y = *rows*rowHeight + rowHeight/2
		*rows++
	} else {
		heights := make([]int, len(b.Children))
		for i, child := range b.Children {
			heights[i] = t.place(child, rows)
		}
		y = (heights[0] + heights[len(heights)-1]) / 2
		for i, child := range b.Children {
			to := columnOf(child.Kind) * columnWidth
			middle := to - (columnWidth-boxWidth)/2
			t.Edges = append(t.Edges, edge{fmt.Sprintf("M%d %dH%dV%dH%d", x+boxWidth, y, middle, heights[i], to), child.Health})
		}
	}
	t.Boxes = append(t.Boxes, box{b.TreeItem, x, y - boxHeight/2, boxWidth, boxHeight})
	return y
}

func columnOf(kind apiv1.TreeKind) int {
	for i, c := range columns {
		if c.kind == kind {
			return i
		}
	}
	return 0
}
