package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	apiv1 "labd/api/v1"
)

// Exit codes of labctl. Scripts rely on them.
const (
	ExitOK           = 0
	ExitError        = 1
	ExitUsage        = 2
	ExitWarn         = 3
	ExitFail         = 4
	ExitRefused      = 5
	ExitNotPermitted = 6
	ExitUnreachable  = 7
	ExitChanged      = 8
	ExitInterrupted  = 130
)

// Error is an error with the code of its JSON form, from which the exit code follows.
type Error struct {
	Code, Message, Hint string
}

func (e *Error) Error() string { return e.Message }

func usageError(format string, args ...any) error {
	return &Error{Code: apiv1.ErrorUsage, Message: fmt.Sprintf(format, args...), Hint: "labctl --help"}
}

// verdictError carries the exit code of a check command whose output is already printed.
type verdictError int

func (verdictError) Error() string { return "something is wrong" }

var exitCodes = map[string]int{
	apiv1.ErrorUsage: ExitUsage, apiv1.ErrorRefused: ExitRefused, apiv1.ErrorNotPermitted: ExitNotPermitted,
	apiv1.ErrorUnreachable: ExitUnreachable, apiv1.ErrorChanged: ExitChanged, apiv1.ErrorInterrupted: ExitInterrupted,
}

// report prints err and returns the exit code.
func (a *app) report(ctx context.Context, asJSON bool, err error) int {
	var verdict verdictError
	if err == nil {
		return ExitOK
	}
	if errors.As(err, &verdict) {
		return int(verdict)
	}
	var exit exitCode
	if errors.As(err, &exit) {
		return int(exit)
	}
	e := a.toError(ctx, err)
	if asJSON {
		writeJSON(a.stderr, apiv1.ErrorBody{Error: apiv1.ErrorDetail{Code: e.Code, Message: e.Message, Hint: e.Hint}})
	} else {
		a.complain("labctl: ", e.Message)
		if e.Hint != "" {
			a.complain("        ", e.Hint)
		}
	}
	if code, ok := exitCodes[e.Code]; ok {
		return code
	}
	return ExitError
}

// fromSocket tells errors of talking to labd from those of files: as a net.Error every errno would do.
func fromSocket(err error) bool {
	var request *url.Error
	var socket *net.OpError
	return errors.As(err, &request) || errors.As(err, &socket)
}

// afterInterrupt is what to know after Ctrl-C: nothing, unless a change had begun.
func (a *app) afterInterrupt() string {
	if a.changing {
		return "the step that runs is finished; labctl journal shows what was done"
	}
	return ""
}

func (a *app) toError(ctx context.Context, err error) *Error {
	var e *Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{apiv1.ErrorInterrupted, "interrupted", a.afterInterrupt()}
	case errors.As(err, &e):
		return e
	case fromSocket(err) && errors.Is(err, os.ErrPermission):
		return &Error{apiv1.ErrorNotPermitted, "not permitted to talk to labd: " + err.Error(), "run it as root, or: usermod -aG labd USER"}
	case fromSocket(err), errors.Is(err, context.DeadlineExceeded):
		return &Error{apiv1.ErrorUnreachable, "labd does not answer: " + err.Error(), "journalctl -u labd; --timeout waits longer"}
	default:
		return &Error{apiv1.ErrorInternal, err.Error(), ""}
	}
}

// checkExit returns the exit code of a check command: that of the worst of its findings and of how well the things are that it
// speaks of. What labd cannot tell is at least a warning.
func checkExit(findings []apiv1.Finding, things ...apiv1.Health) error {
	worst := apiv1.WorstHealth(things...)
	for _, f := range findings {
		worst = apiv1.WorstHealth(worst, f.Severity.Health())
	}
	switch {
	case worst == apiv1.HealthFail:
		return verdictError(ExitFail)
	case worst.Worse(apiv1.HealthInfo):
		return verdictError(ExitWarn)
	default:
		return nil
	}
}

// unknowns returns a health for each thing of which labd cannot tell how well it is. Of the others the findings tell.
func unknowns[T any](things []T, of func(T) apiv1.Health) []apiv1.Health {
	var out []apiv1.Health
	for _, thing := range things {
		if of(thing) == apiv1.HealthUnknown {
			out = append(out, apiv1.HealthUnknown)
		}
	}
	return out
}
