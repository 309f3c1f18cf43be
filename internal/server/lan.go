package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/access"
)

// Rights says what callers from the network may do, as PVE has it.
type Rights interface {
	// May returns nil, a *access.DeniedError, access.ErrUnauthenticated, or why PVE cannot be asked.
	May(ctx context.Context, c access.Credential, a access.Action, t access.Target) error
}

// recheck is how often a stream that runs asks again whether its caller still may: a right that is taken away ends it.
const recheck = time.Minute

// ticketLife is how long PVE accepts a ticket (PVE::AccessControl). A stream that outlives its ticket is not cut for that.
const ticketLife = 2 * time.Hour

// LAN answers what callers from the network may ask: the version, and streams into Docker containers, each by the rights
// that PVE gives the caller's own API token or ticket. Reports, plans and changes are not among it.
func (s *Server) LAN() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		if rt.lan {
			mux.HandleFunc(rt.pattern, s.guardLAN(rt))
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, &apiError{http.StatusNotFound, apiv1.ErrorNotFound, fmt.Sprintf("no %s %s for callers from the network", r.Method, r.URL.Path), "exec, logs, port-forward and version work from elsewhere; the rest needs labctl on the host"})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		credential, err := access.FromRequest(r)
		if err == nil && credential.Cookie {
			// A browser sends PVE's cookie to every port of the host, unasked: another page could make it ask.
			err = errors.New("a cookie is not taken here: send the ticket or an API token in the header Authorization")
		}
		if err != nil {
			s.fail(w, &apiError{http.StatusUnauthorized, apiv1.ErrorNotPermitted, "who calls is not known: " + err.Error(), "labctl --server … --token-file FILE, with one line user@realm!name=secret"})
			return
		}
		who := caller{name: credential.User, credential: &credential, address: r.RemoteAddr}
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, who)))
	})
}

// guardLAN bounds what is read of a request. Who may do what is asked by the handlers, which know the container.
func (s *Server) guardLAN(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if rt.pattern == versionPattern {
			// Any account will do, as for PVE's own version.
			if err := s.may(r.Context(), access.ReadVersion, 0); err != nil {
				s.fail(w, err)
				return
			}
		}
		rt.handler(w, r)
	}
}

// may reports whether the caller of a request may act on a container: root by the socket may everything, a caller from the
// network what PVE says.
func (s *Server) may(ctx context.Context, a access.Action, ct int) error {
	who := identity(ctx)
	if who.mayApply {
		return nil
	}
	if who.credential == nil || s.Rights == nil {
		return &apiError{http.StatusForbidden, apiv1.ErrorNotPermitted, "only root may do this", "run it as root"}
	}
	target := access.Target{Node: s.Node, Guest: ct}
	if ct != 0 {
		privileged, err := s.Containers.Privileged(ctx, ct)
		if err != nil {
			return err
		}
		target.Privileged = privileged
	}
	return rightsError(*who.credential, s.Rights.May(ctx, *who.credential, a, target))
}

// rightsError gives what PVE says of a caller its status, in PVE's words.
func rightsError(c access.Credential, err error) error {
	var denied *access.DeniedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &denied):
		return &apiError{http.StatusForbidden, apiv1.ErrorNotPermitted, denied.Error(), fmt.Sprintf("%s needs %s in PVE, and does not have it", c.User, denied.Need)}
	case errors.Is(err, access.ErrUnauthenticated):
		return &apiError{http.StatusUnauthorized, apiv1.ErrorNotPermitted, access.ErrUnauthenticated.Error(), "it may be wrong, expired or switched off: pveum user token list USER"}
	case errors.Is(err, access.ErrBusy):
		return &apiError{http.StatusServiceUnavailable, apiv1.ErrorBusy, err.Error(), "try again in a moment"}
	}
	return &apiError{http.StatusServiceUnavailable, apiv1.ErrorUnreachable, "PVE cannot be asked what " + c.User + " may do: " + err.Error(), "nothing is allowed while PVE does not answer: systemctl status pveproxy pvedaemon"}
}

// whileAllowed returns a context that ends when the caller of a stream may no longer act on the container; of root's it
// never does. stop ends the asking.
func (s *Server) whileAllowed(r *http.Request, a access.Action, ct int) (ctx context.Context, stop func()) {
	who := identity(r.Context())
	// A stream outlives the request that began it.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	if who.credential == nil {
		return ctx, func() { cancel(nil) }
	}
	began := time.Now()
	go func() {
		ticker := time.NewTicker(recheck)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			err := s.may(ctx, a, ct)
			var api *apiError
			if !errors.As(err, &api) {
				continue
			}
			expired := api.status == http.StatusUnauthorized && who.credential.Auth == access.AuthTicket && time.Since(began) > ticketLife-recheck
			// PVE that does not answer takes no right away.
			if (api.status == http.StatusForbidden || api.status == http.StatusUnauthorized) && !expired {
				cancel(err)
				return
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}
