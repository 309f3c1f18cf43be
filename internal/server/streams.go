package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	apiv1 "labd/api/v1"
	"labd/internal/access"
	"labd/internal/frame"
	"labd/internal/lxc"
	"labd/internal/stream"
)

// Containers opens running LXC containers for streams.
type Containers interface {
	// ContainersNamed returns the ids of the running containers with a host name.
	ContainersNamed(ctx context.Context, name string) ([]int, error)
	// Privileged reports whether root in a container is the host's root.
	Privileged(ctx context.Context, ct int) (bool, error)
	// OpenContainer fails with an error that wraps lxc.ErrNotRunning.
	OpenContainer(ctx context.Context, ct int) (OpenContainer, error)
}

// OpenContainer is a running LXC container.
type OpenContainer interface {
	// Dial connects to its Docker daemon, whoever listens being checked.
	stream.Dialer
	// Connect opens a TCP connection to a port from the network namespace of a process that has pid inside the container:
	// to its loopback addresses, then to addresses.
	Connect(ctx context.Context, pid int, addresses []netip.Addr, port uint16) (net.Conn, error)
	io.Closer
}

// Limits on streams. Those of one caller keep one program from taking them all.
const (
	maxStreams       = 64
	maxCallerStreams = 16
	// execTime is how long a command waits to be started.
	execTime = time.Minute
	// connectTime bounds a TCP connection into a container.
	connectTime = 5 * time.Second
	// tcpDrain is how long a caller may still send after the port closed.
	tcpDrain = 5 * time.Minute
)

// target is where a stream leads to. Who asked for it closes open.
type target struct {
	ct     int
	open   OpenContainer
	docker stream.Docker
	found  stream.Container
}

// target makes sure that the caller may do a, opens the LXC container of a request and finds the Docker container in it.
func (s *Server) target(r *http.Request, a access.Action) (target, error) {
	ct, err := s.containerID(r.Context(), r.PathValue("ct"))
	if err != nil {
		return target{}, err
	}
	if err := s.may(r.Context(), a, ct); err != nil {
		s.audit(r, "denied", string(a), r.PathValue("ct")+"/"+r.PathValue("name"), "reason", err.Error())
		return target{}, err
	}
	open, err := s.Containers.OpenContainer(r.Context(), ct)
	if err != nil {
		return target{}, streamError(ct, err)
	}
	docker := stream.Docker{To: open}
	found, err := docker.Find(r.Context(), r.PathValue("name"))
	if err != nil {
		_ = open.Close()
		return target{}, streamError(ct, err)
	}
	return target{ct, open, docker, found}, nil
}

// containerID reads a container's id, or its name where only one has it.
func (s *Server) containerID(ctx context.Context, text string) (int, error) {
	if id, err := strconv.Atoi(text); err == nil && id > 0 {
		return id, nil
	}
	found, err := s.Containers.ContainersNamed(ctx, text)
	if err != nil {
		return 0, err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return 0, &apiError{http.StatusNotFound, apiv1.ErrorNotFound, fmt.Sprintf("no running LXC container has the id or name %.60q", text), "labctl tree lists them"}
	}
	return 0, &apiError{http.StatusBadRequest, apiv1.ErrorUsage, fmt.Sprintf("several LXC containers have the name %.60q: %v", text, found), "give the id"}
}

// streamError gives what can go wrong on the way to a Docker container its status.
func streamError(ct int, err error) error {
	var refused *stream.RefusedError
	switch {
	case errors.Is(err, lxc.ErrNotRunning):
		return &apiError{http.StatusNotFound, apiv1.ErrorNotFound, fmt.Sprintf("container %d does not run on this node", ct), "labctl tree lists those that do"}
	case errors.Is(err, stream.ErrNoContainer):
		return &apiError{http.StatusNotFound, apiv1.ErrorNotFound, fmt.Sprintf("in container %d: %v", ct, err), "labctl tree lists them"}
	case errors.Is(err, stream.ErrAmbiguous):
		return &apiError{http.StatusBadRequest, apiv1.ErrorUsage, fmt.Sprintf("in container %d: %v", ct, err), "give the whole name"}
	case errors.As(err, &refused):
		// Docker's own words, as foreign text: they are escaped where they are printed.
		return &apiError{http.StatusBadGateway, apiv1.ErrorInternal, fmt.Sprintf("Docker in container %d: %s", ct, refused.Message), ""}
	}
	var api *apiError
	if errors.As(err, &api) {
		return err
	}
	return &apiError{http.StatusBadGateway, apiv1.ErrorInternal, fmt.Sprintf("ask Docker in container %d: %v", ct, err), "labctl net list says whether its Docker answers"}
}

// audit writes down what became of a stream: who, what, where to, how much. Never what went through it.
func (s *Server) audit(r *http.Request, event, action, target string, more ...any) {
	s.Log.Info("stream "+event, append([]any{"user", identity(r.Context()).name, "client", identity(r.Context()).address, "action", action, "target", target}, more...)...)
}

func (s *Server) createExec(w http.ResponseWriter, r *http.Request) {
	req, err := decodeBody[apiv1.ExecRequest](r)
	if err != nil {
		s.fail(w, err)
		return
	}
	if len(req.Command) == 0 || len(req.Command) > apiv1.MaxCommand || len(req.Env) > apiv1.MaxEnv {
		s.fail(w, &apiError{http.StatusBadRequest, apiv1.ErrorUsage, fmt.Sprintf("a command has 1 to %d words and %d variables at most", apiv1.MaxCommand, apiv1.MaxEnv), ""})
		return
	}
	to, err := s.target(r, access.Exec)
	if err != nil {
		s.fail(w, err)
		return
	}
	e := &pendingExec{
		exec:   stream.Exec{Command: req.Command, TTY: req.TTY, Stdin: req.Stdin, User: req.User, WorkDir: req.WorkDir, Env: req.Env},
		caller: identity(r.Context()).name, ct: to.ct, container: to.open, docker: to.docker, target: r.PathValue("ct") + "/" + to.found.Name,
	}
	if req.Size != nil {
		e.exec.Size = stream.Size{Rows: req.Size.Rows, Columns: req.Size.Columns}
	}
	if e.id, err = to.docker.CreateExec(r.Context(), to.found.ID, e.exec); err != nil {
		_ = to.open.Close()
		s.fail(w, streamError(0, fmt.Errorf("%s: %w", e.target, err)))
		return
	}
	s.write(w, http.StatusOK, envelope(s.Node, apiv1.KindExecReport, time.Now(), []apiv1.ExecItem{{ID: s.streams.add(e), Container: to.found.Name}}, nil, nil))
}

func (s *Server) startExec(w http.ResponseWriter, r *http.Request) {
	if !asksFor(r, apiv1.ProtocolExec) {
		s.fail(w, notUpgraded(apiv1.ProtocolExec))
		return
	}
	id, who := r.PathValue("id"), identity(r.Context()).name
	end, err := s.streams.begin(who)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer end()
	e, err := s.streams.start(id, who)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer s.streams.forget(id, true)
	if err := s.may(r.Context(), access.Exec, e.ct); err != nil {
		s.fail(w, err)
		return
	}
	backend, err := e.docker.StartExec(r.Context(), e.id, e.exec)
	if err != nil {
		s.fail(w, streamError(0, fmt.Errorf("%s: %w", e.target, err)))
		return
	}
	caller, early, err := s.hijack(w, apiv1.ProtocolExec)
	if err != nil {
		_ = backend.Close()
		s.Log.Debug("stream not taken over", "err", err)
		return
	}
	s.audit(r, "start", "exec", e.target, "command", e.exec.Command[0], "words", len(e.exec.Command), "tty", e.exec.TTY)
	began := time.Now()
	exit := -1
	allowed, stop := s.whileAllowed(r, access.Exec, e.ct)
	defer stop()
	counts, err := stream.Framed(allowed, caller, backend, early, e.exec.TTY, func(err error) []byte {
		var result apiv1.ExecResult
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), connectTime)
			defer cancel()
			result.ExitCode, err = e.docker.ExitCode(ctx, e.id)
			exit = result.ExitCode
		}
		if err != nil {
			result = apiv1.ExecResult{ExitCode: -1, Error: err.Error()}
		}
		data, _ := json.Marshal(result) // a struct of an int and a string
		return data
	})
	s.audit(r, "end", "exec", e.target, "exit", exit, "bytesIn", counts.ToBackend, "bytesOut", counts.ToCaller, "seconds", time.Since(began).Seconds(), "reason", reason(err))
}

func (s *Server) resizeExec(w http.ResponseWriter, r *http.Request) {
	size, err := decodeBody[apiv1.TerminalSize](r)
	if err != nil {
		s.fail(w, err)
		return
	}
	e, err := s.streams.running(r.PathValue("id"), identity(r.Context()).name)
	if err != nil {
		s.fail(w, err)
		return
	}
	if err := e.docker.ResizeExec(r.Context(), e.id, stream.Size{Rows: size.Rows, Columns: size.Columns}); err != nil {
		s.fail(w, streamError(0, fmt.Errorf("%s: %w", e.target, err)))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if tail := q.Get("tail"); tail != "" && tail != "all" {
		if n, err := strconv.Atoi(tail); err != nil || n < 0 {
			s.fail(w, &apiError{http.StatusBadRequest, apiv1.ErrorUsage, fmt.Sprintf("tail %.40q is no number of lines", tail), ""})
			return
		}
	}
	end, err := s.streams.begin(identity(r.Context()).name)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer end()
	to, err := s.target(r, access.Logs)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer to.open.Close()
	target, began := r.PathValue("ct")+"/"+to.found.Name, time.Now()
	allowed, stop := s.whileAllowed(r, access.Logs, to.ct)
	defer stop()
	// A caller that goes away ends the request, a right that is taken away ends it too.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(allowed, cancel)()
	s.audit(r, "start", "logs", target)
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{}) // a stream may be silent for days
	w.Header().Set("Content-Type", apiv1.FramesType)
	w.WriteHeader(http.StatusOK)
	_ = control.Flush()
	out, n := frame.NewWriter(w), int64(0)
	err = to.docker.Logs(ctx, to.found.ID, stream.LogOptions{Follow: isOn(q.Get("follow")), Timestamps: isOn(q.Get("timestamps")), Since: q.Get("since"), Tail: q.Get("tail")},
		func(id byte, p []byte) error {
			n += int64(len(p))
			return errors.Join(out.Write(id, p), control.Flush())
		})
	var result apiv1.ExecResult
	if err != nil {
		result.Error = err.Error()
	}
	data, _ := json.Marshal(result) // a struct of an int and a string
	_ = out.Write(frame.Result, data)
	s.audit(r, "end", "logs", target, "bytesOut", n, "seconds", time.Since(began).Seconds(), "reason", reason(err))
}

func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	if !asksFor(r, apiv1.ProtocolTCP) {
		s.fail(w, notUpgraded(apiv1.ProtocolTCP))
		return
	}
	port, err := strconv.ParseUint(r.URL.Query().Get("port"), 10, 16)
	if err != nil || port == 0 {
		s.fail(w, &apiError{http.StatusBadRequest, apiv1.ErrorUsage, fmt.Sprintf("port %.40q is no TCP port", r.URL.Query().Get("port")), "1 to 65535"})
		return
	}
	end, err := s.streams.begin(identity(r.Context()).name)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer end()
	to, err := s.target(r, access.PortForward)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer to.open.Close()
	target := fmt.Sprintf("%s/%s:%d", r.PathValue("ct"), to.found.Name, port)
	if !to.found.Running {
		s.fail(w, &apiError{http.StatusConflict, apiv1.ErrorRefused, target + ": the Docker container does not run", "start it, then try again"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), connectTime)
	defer cancel()
	backend, err := to.open.Connect(ctx, to.found.PID, to.found.Addresses, uint16(port))
	if err != nil {
		s.fail(w, &apiError{http.StatusBadGateway, apiv1.ErrorInternal, fmt.Sprintf("connect to %s: %v", target, err), "nothing listens there, or not yet"})
		return
	}
	caller, early, err := s.hijack(w, apiv1.ProtocolTCP)
	if err != nil {
		_ = backend.Close()
		s.Log.Debug("stream not taken over", "err", err)
		return
	}
	began := time.Now()
	s.audit(r, "start", "port-forward", target)
	allowed, stop := s.whileAllowed(r, access.PortForward, to.ct)
	defer stop()
	counts, err := stream.Tunnel(allowed, caller, backend, early, tcpDrain)
	s.audit(r, "end", "port-forward", target, "bytesIn", counts.ToBackend, "bytesOut", counts.ToCaller, "seconds", time.Since(began).Seconds(), "reason", reason(err))
}

// asksFor reports whether a request asks for an upgrade to a protocol.
func asksFor(r *http.Request, protocol string) bool {
	for _, token := range strings.Split(r.Header.Get("Connection"), ",") {
		if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
			return r.Header.Get("Upgrade") == protocol
		}
	}
	return false
}

func notUpgraded(protocol string) error {
	return &apiError{http.StatusUpgradeRequired, apiv1.ErrorUsage, "this is a stream: ask for an upgrade to " + protocol, ""}
}

// hijack takes a connection over and tells the caller so. What the caller sent already is read first.
func (s *Server) hijack(w http.ResponseWriter, protocol string) (net.Conn, io.Reader, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.fail(w, err)
		return nil, nil, err
	}
	// The server's own limits were for the request.
	err = conn.SetDeadline(time.Time{})
	if err == nil {
		_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	early, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, io.MultiReader(strings.NewReader(string(early)), conn), nil
}

func isOn(value string) bool { return value == "1" || value == "true" }

// reason is why a stream ended, for the audit.
func reason(err error) string {
	if err == nil {
		return "ended"
	}
	return err.Error()
}
