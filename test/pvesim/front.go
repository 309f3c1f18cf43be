package pvesim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"labd/internal/host"
	"labd/test/pvesim/front"
)

// Run runs pvesh or pveum as root would, without a process; it takes the place
// of the host's. Other programs are not there.
func (s *Server) Run(ctx context.Context, c host.Cmd) ([]byte, error) {
	done := make(chan front.Result, 1)
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		done <- s.front(c.Name, c.Args, true)
	}()
	title := strings.Join(append([]string{c.Name}, c.Args...), " ")
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("run %s: %w", title, ctx.Err())
	case r := <-done:
		if r.Killed {
			r.Code = -1
		}
		if r.Code != 0 {
			return []byte(r.Stdout), &host.ExitError{Command: title, Code: r.Code, Stderr: r.Stderr}
		}
		return []byte(r.Stdout), nil
	}
}

// front is one run of PVE's command line: the same handlers, as root@pam, faults
// included. Source: PVE::CLI::pvesh, PVE::CLI::pveum, PVE::CLIHandler.
func (s *Server) front(program string, args []string, root bool) front.Result {
	if !root {
		return front.Result{Stderr: "please run as root\n", Code: 255}
	}
	var c *call
	var err error
	switch program {
	case "pvesh":
		c, err = shellCall(args)
	case "pveum":
		c, err = userManagerCall(args)
	default:
		return front.Result{Stderr: program + ": command not found\n", Code: 127}
	}
	if err != nil {
		return front.Result{Stderr: err.Error() + "\n", Code: 255}
	}
	f := s.takeFault(c.method, c.path)
	if f.Do != nil {
		f.Do()
	}
	s.sleep(f.Delay)
	broken := f.Status != 0 || f.Cut
	var r front.Result
	if !broken || f.After {
		r = s.frontAnswer(c)
	}
	if broken {
		r = front.Result{Stderr: f.Reason + "\n", Code: 255, Killed: f.Cut}
	}
	return r
}

// frontAnswer handles the call and words the outcome as the command line does.
func (s *Server) frontAnswer(c *call) front.Result {
	if !s.clusterFSUp() {
		return front.Result{
			Stderr: "ipcc_send_rec[1] failed: Connection refused\nUnable to load access control list: Connection refused\n", Code: 111,
		}
	}
	if _, _, ok := findRoute(c.method, c.path); !ok {
		verb := map[string]string{"GET": "get", "POST": "create", "PUT": "set", "DELETE": "delete"}[c.method]
		return front.Result{Stderr: fmt.Sprintf("No '%s' handler defined for '%s'\n", verb, c.path), Code: 1}
	}
	users, err := s.userConfig()
	if err != nil {
		return front.Result{Stderr: err.Error() + "\n", Code: 255}
	}
	c.who = &caller{id: "root@pam", users: users}
	data, err := s.dispatch(c)
	if err != nil {
		text := err.Error() + "\n"
		if f, ok := err.(*failure); ok {
			text = fmt.Sprintf("%d %s\n", f.status, f.message)
			for _, name := range sortedNames(f.params) {
				text += name + ": " + f.params[name] + "\n"
			}
			text += "\nUSAGE: …\n"
		}
		return front.Result{Stderr: text, Code: 255}
	}
	if data == nil {
		return front.Result{}
	}
	if p, ok := data.(page); ok {
		data = p.rows
	}
	var log string
	if upid, ok := data.(string); ok && strings.HasPrefix(upid, "UPID:") {
		log = s.waitTask(upid)
	}
	out, err := json.Marshal(data)
	if err != nil {
		return front.Result{Stderr: err.Error() + "\n", Code: 255}
	}
	return front.Result{Stdout: log + string(out) + "\n"}
}

// waitTask waits for a worker, which the command line runs in the foreground,
// and returns its log.
func (s *Server) waitTask(upid string) string {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.ctx.Err() == nil {
		s.mu.Lock()
		i := slices.IndexFunc(s.tasks, func(t *task) bool { return t.upid == upid })
		if i >= 0 && s.tasks[i].exit != "" {
			defer s.mu.Unlock()
			return strings.Join(s.tasks[i].log, "\n") + "\n"
		}
		s.mu.Unlock()
		<-tick.C
	}
	return ""
}

// shellCall reads "get|create|set|delete PATH --name value …".
func shellCall(args []string) (*call, error) {
	methods := map[string]string{
		"get": http.MethodGet, "create": http.MethodPost, "set": http.MethodPut, "delete": http.MethodDelete,
	}
	if len(args) < 2 || methods[args[0]] == "" {
		return nil, fmt.Errorf("ERROR: unknown command 'pvesh %s'", strings.Join(args, " "))
	}
	params, rest, err := options(args[2:])
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("400 too many arguments")
	}
	return &call{method: methods[args[0]], path: args[1], params: params}, err
}

// options splits "--name value" from other words. As Getopt::Long has it,
// "--name=" without a value is an error.
func options(args []string) (params map[string]string, rest []string, err error) {
	params = map[string]string{}
	for i := 0; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "--")
		if !ok {
			rest = append(rest, args[i])
			continue
		}
		name, value, joined := strings.Cut(name, "=")
		switch {
		case joined && value == "", !joined && i+1 == len(args):
			return nil, nil, fmt.Errorf("400 unable to parse option: %s requires an argument", name)
		case !joined:
			i++
			value = args[i]
		}
		params[name] = value
	}
	delete(params, "output-format")
	return params, rest, nil
}

// userManagerCommand is a command of pveum with the endpoint it stands for.
type userManagerCommand struct {
	words  string
	method string
	path   string   // arguments in braces
	args   []string // names of the positional arguments
	fixed  map[string]string
}

func userManagerCommands() []userManagerCommand {
	user, token, role, acl := []string{"userid"}, []string{"userid", "tokenid"}, []string{"roleid"}, []string{"path"}
	return []userManagerCommand{
		{"user token add", "POST", "/access/users/{userid}/token/{tokenid}", token, nil},
		{"user token modify", "PUT", "/access/users/{userid}/token/{tokenid}", token, nil},
		{"user token delete", "DELETE", "/access/users/{userid}/token/{tokenid}", token, nil},
		{"user token remove", "DELETE", "/access/users/{userid}/token/{tokenid}", token, nil},
		{"user token list", "GET", "/access/users/{userid}/token", user, nil},
		{"user add", "POST", "/access/users", user, nil},
		{"user delete", "DELETE", "/access/users/{userid}", user, nil},
		{"user list", "GET", "/access/users", nil, nil},
		{"role add", "POST", "/access/roles", role, nil},
		{"role modify", "PUT", "/access/roles/{roleid}", role, nil},
		{"role delete", "DELETE", "/access/roles/{roleid}", role, nil},
		{"role list", "GET", "/access/roles", nil, nil},
		{"acl modify", "PUT", "/access/acl", acl, map[string]string{"delete": "0"}},
		{"acl delete", "PUT", "/access/acl", acl, map[string]string{"delete": "1"}},
		{"acl list", "GET", "/access/acl", nil, nil},
		{"pool modify", "PUT", "/pools", []string{"poolid"}, nil},
	}
}

// userManagerCall reads a command line of pveum.
func userManagerCall(args []string) (*call, error) {
	for _, m := range userManagerCommands() {
		words := strings.Fields(m.words)
		if len(args) < len(words) || !slices.Equal(args[:len(words)], words) {
			continue
		}
		params, rest, err := options(args[len(words):])
		if err != nil {
			return nil, err
		}
		if len(rest) != len(m.args) {
			return nil, fmt.Errorf("400 not enough arguments")
		}
		path := m.path
		for i, name := range m.args {
			if placeholder := "{" + name + "}"; strings.Contains(path, placeholder) {
				path = strings.ReplaceAll(path, placeholder, rest[i])
			} else {
				params[name] = rest[i]
			}
		}
		for name, value := range m.fixed {
			params[name] = value
		}
		return &call{method: m.method, path: path, params: params}, nil
	}
	return nil, fmt.Errorf("ERROR: unknown command 'pveum %s'", strings.Join(args, " "))
}
