package pve

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// What a failed request means. An *APIError matches exactly one of these with
// errors.Is, or none when PVE's text is not known to this package.
var (
	// ErrUnauthenticated: PVE does not accept the token.
	ErrUnauthenticated = errors.New("the API token is not accepted")
	// ErrNotPermitted: the token lacks a privilege, which PVE's text names, or
	// pvesh does not run as root.
	ErrNotPermitted = errors.New("the API token may not do this")
	// ErrInvalid: PVE rejects a parameter; see APIError.Params.
	ErrInvalid = errors.New("PVE rejects a parameter")
	// ErrNoQuorum: the cluster is read only. Nothing was changed.
	ErrNoQuorum = errors.New("the cluster has no quorum")
	// ErrChanged: the digest sent is not the file's any more. Nothing was changed.
	ErrChanged = errors.New("the configuration was changed by someone else")
	// ErrLockTimeout: another writer held the file's lock. Nothing was changed.
	ErrLockTimeout = errors.New("the configuration is locked by someone else")
	// ErrUnknownStorage: no storage of the ID asked for, or only a malformed one.
	ErrUnknownStorage = errors.New("there is no such storage")
	// ErrMalformedConfig: a malformed section of storage.cfg blocks the request.
	ErrMalformedConfig = errors.New("a malformed section of storage.cfg blocks this")
	// ErrClusterFSDown: pmxcfs does not run, so PVE knows nothing at all.
	ErrClusterFSDown = errors.New("the cluster file system (pmxcfs) is down")
	// ErrUnknownOutcome: the request was sent and no final answer came: a change
	// may have been made or not. Read the state again before anything else.
	ErrUnknownOutcome = errors.New("the outcome is not known")
	// ErrUnreachable: no connection was made, or pvesh cannot be run. Nothing was
	// changed.
	ErrUnreachable = errors.New("PVE's API cannot be reached")
)

// APIError is a request that did not succeed.
type APIError struct {
	Method string
	Path   string            // below /api2/json, with the query
	Status int               // HTTP status; 0 when there was no answer
	Reason string            // PVE's message: the reason phrase of the status line
	Params map[string]string // PVE's objections by parameter (status 400)

	kind  error
	cause error
	shell bool // pvesh was asked, not the API's port
}

// Error names the request, PVE's message and the rejected parameters.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Method, e.Path)
	if e.shell {
		b.Reset()
		fmt.Fprintf(&b, "pvesh %s %s: ", shellVerbs[e.Method], e.Path)
	}
	switch {
	case e.shell && e.Reason != "":
		b.WriteString("PVE answers: " + e.Reason)
	case e.Status != 0 && e.Reason != "":
		fmt.Fprintf(&b, "PVE answers %d: %s", e.Status, e.Reason)
	case e.Status != 0:
		fmt.Fprintf(&b, "PVE answers %d", e.Status)
	case e.kind != nil:
		b.WriteString(e.kind.Error())
	default:
		b.WriteString("no answer")
	}
	for _, name := range slices.Sorted(maps.Keys(e.Params)) {
		fmt.Fprintf(&b, "; %s: %s", name, strings.TrimSpace(e.Params[name]))
	}
	if e.cause != nil {
		fmt.Fprintf(&b, ": %v", e.cause)
	}
	return b.String()
}

// Is matches the sentinel that says what the failure means.
func (e *APIError) Is(target error) bool { return e.kind != nil && target == e.kind }

// Unwrap returns the transport's error, if there was no answer.
func (e *APIError) Unwrap() error { return e.cause }

var noSuchStoragePattern = regexp.MustCompile(`storage '([^']*)' does not exist`)

// classify finds out what PVE's answer means. PVE answers most failures with
// 500 and puts the reason into the status line, so the text decides.
func classify(status int, reason, path string) error {
	has := func(s string) bool { return strings.Contains(reason, s) }
	switch {
	case status == http.StatusUnauthorized:
		return ErrUnauthenticated
	case status == http.StatusForbidden:
		return ErrNotPermitted
	case status == http.StatusBadRequest:
		return ErrInvalid
	// 595, 596 and 599 are pveproxy's: no connection to the node, broken
	// connection, too many redirects or time-out (AnyEvent::HTTP).
	case status >= 590, status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		return ErrUnknownOutcome
	case has("no quorum"):
		return ErrNoQuorum
	case has("detected modified configuration"):
		return ErrChanged
	case has("got lock request timeout"), has("-locked command timed out"):
		return ErrLockTimeout
	case has("RPCEnvironment init request failed"), has("cluster filesystem not online"), has("ipcc_send_rec"):
		return ErrClusterFSDown
	case has("unknown section type ''"):
		return ErrMalformedConfig
	}
	if m := noSuchStoragePattern.FindStringSubmatch(reason); m != nil {
		// PVE names the malformed section when it trips over one while it
		// handles another storage.
		if strings.HasPrefix(path+"/", "/storage/"+m[1]+"/") {
			return ErrUnknownStorage
		}
		return ErrMalformedConfig
	}
	return nil
}
