package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/finding"
	"labd/internal/plan"
)

// plan answers POST /v1/plans: what an action would do.
func (s *Server) plan(w http.ResponseWriter, r *http.Request) {
	req, err := decodeBody[apiv1.PlanRequest](r)
	if err != nil {
		s.fail(w, err)
		return
	}
	p, err := s.build(r, req)
	if err != nil {
		s.fail(w, err)
		return
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindPlan, time.Now(), []apiv1.Plan{planToAPI(p)}, nil, nil))
}

func (s *Server) build(r *http.Request, req apiv1.PlanRequest) (*plan.Plan, error) {
	request, err := req.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if undo, ok := request.(apiv1.UndoEntryRequest); ok {
		return s.Runner.UndoPlan(undo.ID)
	}
	return s.Planner.Plan(r.Context(), request)
}

// apply answers POST /v1/plans/apply: observe again, build the plan again, compare digests, run.
func (s *Server) apply(w http.ResponseWriter, r *http.Request) {
	req, err := decodeBody[apiv1.PlanRequest](r)
	if err != nil {
		s.fail(w, err)
		return
	}
	if req.Action == apiv1.ActionUndo {
		s.fail(w, &apiError{http.StatusBadRequest, apiv1.ErrorUsage, "an undo goes to POST /v1/journal/{id}/undo", ""})
		return
	}
	p, err := s.build(r, req)
	if err != nil {
		s.fail(w, err)
		return
	}
	if p.Digest != req.Digest {
		s.fail(w, &plan.ChangedError{What: "the facts that its guards read are others now"})
		return
	}
	entry, err := s.Runner.Apply(s.withProgress(r.Context(), p.Digest), p, identity(r.Context()).name)
	s.finish(w, entry, err)
}

// undo answers POST /v1/journal/{id}/undo.
func (s *Server) undo(w http.ResponseWriter, r *http.Request) {
	req, err := decodeBody[apiv1.UndoRequest](r)
	if err != nil {
		s.fail(w, err)
		return
	}
	entry, err := s.Runner.Undo(s.withProgress(r.Context(), req.Digest), r.PathValue("id"), req.Digest, identity(r.Context()).name)
	s.finish(w, entry, err)
}

// withProgress returns a context with which each step of the plan with the digest is an event.
func (s *Server) withProgress(ctx context.Context, digest string) context.Context {
	return plan.WithProgress(ctx, func(p plan.Progress) {
		s.Events.Publish(apiv1.EventPlanStep, apiv1.StepProgress{Digest: digest, Step: p.Step, Steps: p.Of, Title: p.Title, Phase: apiv1.StepPhase(p.Phase)})
	})
}

func (s *Server) finish(w http.ResponseWriter, entry *plan.Entry, err error) {
	if entry != nil {
		if s.AfterApply != nil {
			s.AfterApply()
		}
		s.Events.Publish(apiv1.EventPlanEnded, journalToAPI(entry))
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindJournalReport, time.Now(), []apiv1.JournalItem{journalToAPI(entry)}, nil, nil))
}

// journal answers GET /v1/journal: titles, newest first, never what undo keeps.
func (s *Server) journal(w http.ResponseWriter, _ *http.Request) {
	entries, err := s.Runner.Journal.Entries()
	var notes []string
	if err != nil {
		notes = append(notes, err.Error())
	}
	items := make([]apiv1.JournalItem, 0, len(entries))
	for i := len(entries) - 1; i >= 0; i-- {
		items = append(items, journalToAPI(entries[i]))
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindJournalReport, time.Now(), items, nil, notes))
}

// journalEntry answers GET /v1/journal/{id}: an entry with its steps; of what undo keeps only what holds no secret.
func (s *Server) journalEntry(w http.ResponseWriter, r *http.Request) {
	entry, err := s.Runner.Journal.Entry(r.PathValue("id"))
	if err != nil {
		s.fail(w, err)
		return
	}
	out := journalToAPI(entry)
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	for i, step := range entry.Plan.Steps {
		state := entry.Steps[i]
		out.StepList = append(out.StepList, apiv1.JournalStep{
			Title: step.Title, How: step.How, Verify: step.Verified, Undo: step.Undone, Undoable: step.Undoable, Former: s.Runner.Ops.Former(step.Op, step.Params, state.Saved), Begun: state.Begun, Done: state.Done,
			BegunAt: at(state.BegunAt), EndedAt: at(state.EndedAt), Error: state.Error,
		})
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindJournalReport, time.Now(), []apiv1.JournalItem{out}, nil, nil))
}

func planToAPI(p *plan.Plan) apiv1.Plan {
	out := apiv1.Plan{Title: p.Title, Subjects: subjects(p.Subjects), Digest: p.Digest, Steps: []apiv1.PlanStep{}, Notes: p.Notes}
	for _, step := range p.Steps {
		out.Steps = append(out.Steps, apiv1.PlanStep{
			Title: step.Title, How: step.How, Verify: step.Verified, Undo: step.Undone, Risk: apiv1.Risk(step.Risk), Undoable: step.Undoable,
		})
	}
	return out
}

func journalToAPI(e *plan.Entry) apiv1.JournalItem {
	item := apiv1.JournalItem{
		ID: e.ID, Time: e.Time, Actor: e.Actor, Title: e.Plan.Title, Subjects: subjects(e.Plan.Subjects), State: apiv1.JournalState(e.State),
		Undoes: e.Undoes, UndoneBy: e.UndoneBy, Steps: len(e.Steps), StepsDone: e.StepsDone(), Error: e.Error,
	}
	if !e.EndedAt.IsZero() {
		item.EndedAt = &e.EndedAt
	}
	for i, state := range e.Steps {
		if state.Begun && e.Plan.Steps[i].Undoable && e.UndoneBy == "" && e.Undoes == "" {
			item.Undoable = true
		}
	}
	return item
}

func subjects(list []finding.Subject) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}
