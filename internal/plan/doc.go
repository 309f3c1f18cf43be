// Package plan carries out changes: a plan is a list of steps, each with a precondition that is checked again right
// before it runs, a verification and an undo. What undo needs is in the journal, on disk, before a step runs, so a
// daemon killed at any instruction leaves a journal that says which state the host is in.
package plan
