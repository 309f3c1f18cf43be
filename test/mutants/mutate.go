package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

// Mutant is one edit of a guard.
type Mutant struct {
	// ID is its number in the test binary, from 1 on.
	ID int
	// Key names it without a line number: "file.go function: edit: source".
	Key string
	// Pos is "file.go:line".
	Pos string
}

// mutator rewrites one file so that each of its guards asks which mutant is on.
type mutator struct {
	fset     *token.FileSet
	base     string // the file's name without directory
	src      []byte
	first    int
	mutants  []Mutant
	roots    map[ast.Expr]root
	function string
	seen     map[string]int
}

// root is why a whole boolean expression is mutated.
type root int

const (
	value     root = iota + 1 // returned or assigned
	condition                 // of an if
	guard                     // of an if without else whose body leaves
	clause                    // of a switch without a tag
)

// mutateFile returns the rewritten source of a file and its mutants, numbered from first on.
func mutateFile(name, base string, src []byte, first int) ([]byte, []Mutant, error) {
	m := &mutator{fset: token.NewFileSet(), base: base, src: src, first: first, roots: map[ast.Expr]root{}, seen: map[string]int{}}
	file, err := parser.ParseFile(m.fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	var out strings.Builder
	from := 0
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		m.function = fn.Name.Name
		m.collect(fn.Body)
		out.Write(src[from:m.offset(fn.Body.Pos())])
		out.WriteString(m.source(fn.Body))
		from = m.offset(fn.Body.End())
	}
	out.Write(src[from:])
	return []byte(out.String()), m.mutants, nil
}

func (m *mutator) offset(p token.Pos) int { return m.fset.Position(p).Offset }

// collect finds the expressions that decide.
func (m *mutator) collect(body ast.Node) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			m.roots[n.Cond] = condition
			if n.Else == nil && leaves(n.Body) {
				m.roots[n.Cond] = guard
			}
		case *ast.SwitchStmt:
			if n.Tag != nil {
				break
			}
			for _, c := range n.Body.List {
				for _, e := range c.(*ast.CaseClause).List {
					m.roots[e] = clause
				}
			}
		case *ast.ReturnStmt:
			m.values(n.Results)
		case *ast.AssignStmt:
			m.values(n.Rhs)
		case *ast.KeyValueExpr:
			m.values([]ast.Expr{n.Value})
		}
		return true
	})
}

func (m *mutator) values(list []ast.Expr) {
	for _, e := range list {
		switch e := ast.Unparen(e).(type) {
		case *ast.BinaryExpr:
			if e.Op == token.LAND || e.Op == token.LOR || other[e.Op] != 0 {
				m.roots[e] = value
			}
		case *ast.UnaryExpr:
			if e.Op == token.NOT {
				m.roots[e] = value
			}
		}
	}
}

// leaves reports whether a block ends by leaving what surrounds it.
func leaves(b *ast.BlockStmt) bool {
	if len(b.List) == 0 {
		return false
	}
	switch b.List[len(b.List)-1].(type) {
	case *ast.ReturnStmt, *ast.BranchStmt:
		return true
	}
	return false
}

// source is the text of a node with everything mutated that lies in it.
func (m *mutator) source(n ast.Node) string {
	var out strings.Builder
	from := n.Pos()
	ast.Inspect(n, func(c ast.Node) bool {
		e, ok := c.(ast.Expr)
		if !ok {
			return true
		}
		why := m.roots[e]
		if why == 0 {
			return true
		}
		delete(m.roots, e)
		out.Write(m.src[m.offset(from):m.offset(e.Pos())])
		out.WriteString(m.root(e, why))
		from = e.End()
		return false
	})
	out.Write(m.src[m.offset(from):m.offset(n.End())])
	return out.String()
}

func (m *mutator) root(e ast.Expr, why root) string {
	switch why {
	case condition:
		id := m.add("negated", e)
		return fmt.Sprintf("mutantNot(%d, %s)", id, m.boolean(e, true))
	case guard:
		id := m.add("negated", e)
		never := m.add("never", e)
		return fmt.Sprintf("mutantNever(%d, mutantNot(%d, %s))", never, id, m.boolean(e, true))
	case clause:
		id := m.add("never", e)
		return fmt.Sprintf("mutantNever(%d, %s)", id, m.boolean(e, false))
	}
	return m.boolean(e, false)
}

// other is what a comparison is taken for.
var other = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR, token.EQL: token.NEQ, token.NEQ: token.EQL,
}

// boolean mutates the parts of a boolean expression; negated says that there is a mutant that turns all of it around.
func (m *mutator) boolean(e ast.Expr, negated bool) string {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return "(" + m.boolean(e.X, negated) + ")"
	case *ast.UnaryExpr:
		if e.Op == token.NOT && !negated {
			return fmt.Sprintf("mutantNot(%d, !%s)", m.add("negated", e), m.boolean(e.X, true))
		}
		if e.Op == token.NOT {
			return "!" + m.boolean(e.X, true)
		}
	case *ast.BinaryExpr:
		switch {
		case e.Op == token.LAND || e.Op == token.LOR:
			name, swapped := "mutantAnd", "|| for &&"
			if e.Op == token.LOR {
				name, swapped = "mutantOr", "&& for ||"
			}
			id := m.add(swapped, e)
			m.add("left side only", e)
			m.add("right side only", e)
			return fmt.Sprintf("%s(%d, func() bool { return %s }, func() bool { return %s })", name, id, m.boolean(e.X, false), m.boolean(e.Y, false))
		case (e.Op == token.EQL || e.Op == token.NEQ) && negated:
		case other[e.Op] != 0:
			id := m.add(fmt.Sprintf("%s for %s", other[e.Op], e.Op), e)
			x, y := m.source(e.X), m.source(e.Y)
			return fmt.Sprintf("(mutantIs(%d) && (%s %s %s) || !mutantIs(%d) && (%s %s %s))", id, x, other[e.Op], y, id, x, e.Op, y)
		}
	}
	return m.source(e)
}

// add notes a mutant and returns its number.
func (m *mutator) add(edit string, e ast.Expr) int {
	text := strings.Join(strings.Fields(string(m.src[m.offset(e.Pos()):m.offset(e.End())])), " ")
	key := fmt.Sprintf("%s %s: %s: %s", m.base, m.function, edit, text)
	if m.seen[key]++; m.seen[key] > 1 {
		key += fmt.Sprintf(" #%d", m.seen[key])
	}
	id := m.first + len(m.mutants)
	m.mutants = append(m.mutants, Mutant{ID: id, Key: key, Pos: m.base + ":" + strconv.Itoa(m.fset.Position(e.Pos()).Line)})
	return id
}

// support is what the rewritten files call, as a file of their package. A mutant is switched on by the variable MUTANT; where
// MUTANT_HITS names a file, the numbers of the mutants that are reached are written to it instead.
const support = `
import (
	mutantOS "os"
	mutantNumber "strconv"
	mutantSync "sync"
)

var (
	mutantOn, _ = mutantNumber.Atoi(mutantOS.Getenv("MUTANT"))
	mutantHits  = mutantOS.Getenv("MUTANT_HITS")
	mutantSeen  mutantSync.Map
)

func mutantIs(id int) bool {
	if mutantHits != "" {
		mutantHit(id)
	}
	return mutantOn == id
}

func mutantHit(id int) {
	if _, known := mutantSeen.LoadOrStore(id, true); known {
		return
	}
	if f, err := mutantOS.OpenFile(mutantHits, mutantOS.O_APPEND|mutantOS.O_CREATE|mutantOS.O_WRONLY, 0o666); err == nil {
		_, _ = f.WriteString(mutantNumber.Itoa(id) + "\n")
		_ = f.Close()
	}
}

func mutantNot(id int, cond bool) bool   { return cond != mutantIs(id) }
func mutantNever(id int, cond bool) bool { return !mutantIs(id) && cond }

func mutantAnd(id int, a, b func() bool) bool {
	switch {
	case mutantIs(id):
		return a() || b()
	case mutantIs(id + 1):
		return a()
	case mutantIs(id + 2):
		return b()
	}
	return a() && b()
}

func mutantOr(id int, a, b func() bool) bool {
	switch {
	case mutantIs(id):
		return a() && b()
	case mutantIs(id + 1):
		return a()
	case mutantIs(id + 2):
		return b()
	}
	return a() || b()
}
`
