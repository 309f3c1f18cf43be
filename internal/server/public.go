package server

import (
	"context"
	"fmt"
	"net/http"

	apiv1 "labd/api/v1"
)

// Public answers the routes that anyone who reaches the TCP port may read: reports and findings. Plans, the journal,
// the configuration and every change stay on the unix socket, where the kernel says who asks.
func (s *Server) Public() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		if rt.public {
			mux.HandleFunc(rt.pattern, rt.handler)
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, &apiError{http.StatusNotFound, apiv1.ErrorNotFound, fmt.Sprintf("no %s %s on this port", r.Method, r.URL.Path), "ask the unix socket: labctl on the host"})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 0)
		who := caller{name: "tcp", mayRead: true, public: true}
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, who)))
	})
}
