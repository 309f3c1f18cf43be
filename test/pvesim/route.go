package pvesim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"labd/internal/pve"
)

// call is one request to the API.
type call struct {
	method string
	path   string            // below /api2/json, decoded
	args   map[string]string // parts of the path that a route names
	params map[string]string // query and body
	auth   string            // the Authorization header
	who    *caller
}

func newCall(req *http.Request) (*call, error) {
	c := &call{method: req.Method, auth: req.Header.Get("Authorization"), params: map[string]string{}}
	path, ok := strings.CutPrefix(req.URL.Path, "/api2/json")
	if !ok {
		return nil, &failure{status: http.StatusNotFound, message: "no such file '" + req.URL.Path + "'"}
	}
	c.path = path
	for key, values := range req.URL.Query() {
		c.params[key] = values[len(values)-1]
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return nil, &failure{status: http.StatusBadRequest, message: err.Error()}
	}
	if len(body) == 0 {
		return c, nil
	}
	if strings.HasPrefix(req.Header.Get("Content-Type"), "application/json") {
		var values map[string]any
		if err := json.Unmarshal(body, &values); err != nil {
			return nil, &failure{status: http.StatusBadRequest, message: err.Error()}
		}
		for key, v := range values {
			c.params[key] = jsonParam(v)
		}
		return c, nil
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &failure{status: http.StatusBadRequest, message: err.Error()}
	}
	for key, v := range values {
		c.params[key] = v[len(v)-1]
	}
	return c, nil
}

// jsonParam turns a JSON value into the text of a form field.
func jsonParam(v any) string {
	switch v := v.(type) {
	case bool:
		if v {
			return "1"
		}
		return "0"
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

// bool reads a boolean parameter.
func (c *call) bool(name string) bool { return c.params[name] == "1" }

// route is an endpoint. Parts of the path in braces are arguments.
type route struct {
	method string
	path   string
	do     func(*Server, *call) (any, error)
}

func routes() []route {
	return []route{
		{"GET", "/version", (*Server).getVersion},
		{"GET", "/access/permissions", (*Server).getPermissions},
		{"GET", "/access/acl", (*Server).getACL},
		{"PUT", "/access/acl", (*Server).updateACL},
		{"GET", "/access/roles", (*Server).getRoles},
		{"POST", "/access/roles", (*Server).createRole},
		{"GET", "/access/roles/{role}", (*Server).getRole},
		{"PUT", "/access/roles/{roleid}", (*Server).updateRole},
		{"DELETE", "/access/roles/{roleid}", (*Server).deleteRole},
		{"GET", "/access/users", (*Server).getUsers},
		{"POST", "/access/users", (*Server).createUser},
		{"DELETE", "/access/users/{userid}", (*Server).deleteUser},
		{"GET", "/access/users/{userid}/token", (*Server).getTokens},
		{"POST", "/access/users/{userid}/token/{tokenid}", (*Server).createToken},
		{"DELETE", "/access/users/{userid}/token/{tokenid}", (*Server).deleteToken},
		{"GET", "/pools", (*Server).getPools},
		{"PUT", "/pools", (*Server).updatePool},
		{"GET", "/nodes/{node}/qemu/{vmid}/config", (*Server).getGuestConfig},
		{"PUT", "/nodes/{node}/qemu/{vmid}/config", (*Server).updateGuest},
		{"GET", "/nodes/{node}/lxc/{vmid}/config", (*Server).getGuestConfig},
		{"PUT", "/nodes/{node}/lxc/{vmid}/config", (*Server).updateGuest},
		{"GET", "/storage", (*Server).getStorages},
		{"POST", "/storage", (*Server).createStorage},
		{"GET", "/storage/{storage}", (*Server).getStorage},
		{"PUT", "/storage/{storage}", (*Server).updateStorage},
		{"DELETE", "/storage/{storage}", (*Server).deleteStorage},
		{"GET", "/nodes", (*Server).getNodes},
		{"GET", "/nodes/{node}/storage", (*Server).getNodeStorages},
		{"GET", "/nodes/{node}/storage/{storage}", (*Server).getNodeStorageIndex},
		{"GET", "/nodes/{node}/storage/{storage}/status", (*Server).getNodeStorageStatus},
		{"GET", "/nodes/{node}/storage/{storage}/content", (*Server).getNodeStorageContent},
		{"GET", "/nodes/{node}/disks/directory", (*Server).getDirectories},
		{"DELETE", "/nodes/{node}/disks/directory/{name}", (*Server).deleteDirectory},
		{"GET", "/nodes/{node}/tasks", (*Server).getTasks},
		{"GET", "/nodes/{node}/tasks/{upid}", (*Server).getTaskIndex},
		{"DELETE", "/nodes/{node}/tasks/{upid}", (*Server).stopTask},
		{"GET", "/nodes/{node}/tasks/{upid}/status", (*Server).getTaskStatus},
		{"GET", "/nodes/{node}/tasks/{upid}/log", (*Server).getTaskLog},
		{"GET", "/cluster/status", (*Server).getClusterStatus},
		{"GET", "/cluster/resources", (*Server).getResources},
		{"GET", "/cluster/backup", (*Server).getBackupJobs},
		{"POST", "/cluster/backup", (*Server).createBackupJob},
		{"GET", "/cluster/backup/{id}", (*Server).getBackupJob},
		{"PUT", "/cluster/backup/{id}", (*Server).updateBackupJob},
		{"DELETE", "/cluster/backup/{id}", (*Server).deleteBackupJob},
	}
}

// handle answers a request in PVE's order: verb, cluster file system, token,
// path, then the endpoint with its permission check and parameters.
func (s *Server) handle(c *call) *response {
	switch c.method {
	case "GET", "POST", "PUT", "DELETE":
	default:
		return fail(&failure{
			status: http.StatusNotImplemented, message: "method '" + c.method + "' not available", bare: true,
		})
	}
	if !s.clusterFSUp() {
		s.sleep(s.cfg.AuthDelay)
		return fail(&failure{
			status: http.StatusInternalServerError, bare: true,
			message: "RPCEnvironment init request failed: Unable to load access control list: Connection refused",
		})
	}
	who, err := s.authenticate(c.auth)
	if err != nil {
		s.sleep(s.cfg.AuthDelay)
		return fail(err)
	}
	c.who = who
	data, err := s.dispatch(c)
	if err != nil {
		return fail(err)
	}
	return success(data)
}

// foreign reports whether the call is meant for another node.
func (s *Server) foreign(c *call) bool {
	rest, ok := strings.CutPrefix(c.path, "/nodes/")
	node, _, _ := strings.Cut(rest, "/")
	return ok && node != s.cfg.Node
}

// dispatch runs the endpoint of a call whose caller is known. pveproxy passes on
// what is meant for another node before it looks further; a member of the
// cluster that is online answers out of the same tree.
func (s *Server) dispatch(c *call) (any, error) {
	if s.foreign(c) {
		node, _, _ := strings.Cut(strings.TrimPrefix(c.path, "/nodes/"), "/")
		cluster, err := pve.ReadCluster(pve.DirFS(s.path("etc/pve")))
		if err != nil {
			return nil, err
		}
		switch m, ok := cluster.Member(node); {
		case !ok:
			return nil, fmt.Errorf("hostname lookup '%s' failed - failed to get address info for: %s: Name or service not known",
				node, node)
		case !m.Online:
			return nil, &failure{status: 595, message: "No route to host", bare: true}
		}
	}
	r, args, ok := findRoute(c.method, c.path)
	if !ok {
		return nil, &failure{
			status: http.StatusNotImplemented, message: fmt.Sprintf("Method '%s %s' not implemented", c.method, c.path),
		}
	}
	c.args = args
	return r.do(s, c)
}

func findRoute(method, path string) (route, map[string]string, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
next:
	for _, r := range routes() {
		want := strings.Split(strings.Trim(r.path, "/"), "/")
		if r.method != method || len(want) != len(parts) {
			continue
		}
		args := map[string]string{}
		for i, w := range want {
			if strings.HasPrefix(w, "{") {
				args[strings.Trim(w, "{}")] = parts[i]
			} else if w != parts[i] {
				continue next
			}
		}
		return r, args, true
	}
	return route{}, nil, false
}
