package pvesim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// task is a worker process of PVE.
type task struct {
	upid       string
	pid        int
	pstart     int
	start, end time.Time
	typ, id    string
	user       string // with the token
	log        []string
	exit       string // empty while it runs
}

// runTask starts a worker and returns its ID at once. The worker's error becomes
// the exit status.
func (s *Server) runTask(user, typ, id string, work func(log func(string)) error) string {
	t := s.newTask(user, typ, id)
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		err := work(func(line string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.log = append(t.log, line)
		})
		s.endTask(t, err)
	}()
	return t.upid
}

func (s *Server) newTask(user, typ, id string) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	t := &task{pid: 4000 + s.nextID, pstart: 70000 + s.nextID, start: time.Now(), typ: typ, id: id, user: user}
	t.upid = fmt.Sprintf("UPID:%s:%08X:%08X:%08X:%s:%s:%s:", s.cfg.Node, t.pid, t.pstart, t.start.Unix(), typ, id, user)
	s.tasks = append(s.tasks, t)
	return t
}

func (s *Server) endTask(t *task, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.end = time.Now()
	if err != nil {
		t.exit = err.Error()
		t.log = append(t.log, "TASK ERROR: "+t.exit)
		return
	}
	t.exit = "OK"
	t.log = append(t.log, "TASK OK")
}

// StartTask adds a task that runs until the function it returns is called.
func (s *Server) StartTask(user, typ, id string) (upid string, end func(error)) {
	t := s.newTask(user, typ, id)
	return t.upid, func(err error) { s.endTask(t, err) }
}

// row is the task as a list shows it.
func (t *task) row(node string) map[string]any {
	user, token, isToken := strings.Cut(t.user, "!")
	row := map[string]any{
		"upid": t.upid, "node": node, "pid": t.pid, "pstart": t.pstart, "starttime": t.start.Unix(),
		"type": t.typ, "id": t.id, "user": user,
	}
	if isToken {
		row["tokenid"] = token
	}
	return row
}

func (s *Server) getTasks(c *call) (any, error) {
	source := c.params["source"]
	switch source {
	case "", "archive", "active", "all":
	default:
		return nil, badParam("source",
			fmt.Sprintf("value '%s' does not have a value in the enumeration 'archive, active, all'", source))
	}
	limit := 50
	if n, err := strconv.Atoi(c.params["limit"]); err == nil {
		limit = n
	}
	all := c.who.may("/nodes/"+s.cfg.Node, "Sys.Audit")
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, total := []map[string]any{}, 0
	for _, t := range slices.Backward(s.tasks) {
		running := t.exit == ""
		if source == "active" && !running || (source == "" || source == "archive") && running ||
			!all && t.user != c.who.id && t.user != c.who.user() ||
			c.params["typefilter"] != "" && c.params["typefilter"] != t.typ ||
			c.bool("errors") && t.exit == "OK" ||
			c.params["statusfilter"] == "ok" && t.exit != "OK" {
			continue
		}
		total++
		if len(rows) >= limit {
			continue
		}
		row := t.row(s.cfg.Node)
		if !running {
			row["status"], row["endtime"] = t.exit, t.end.Unix()
		}
		rows = append(rows, row)
	}
	return page{rows, total}, nil
}

// findTask checks the ID in the path and the right to see the task.
func (s *Server) findTask(c *call) (*task, error) {
	upid := c.args["upid"]
	f := strings.Split(upid, ":")
	if len(f) != 9 || f[0] != "UPID" {
		return nil, badParam("upid", "unable to parse worker upid")
	}
	i := slices.IndexFunc(s.tasks, func(t *task) bool { return t.upid == upid })
	if f[7] != c.who.id && f[7] != c.who.user() {
		if err := c.check("/nodes/"+s.cfg.Node, "Sys.Audit"); err != nil {
			return nil, err
		}
	}
	if i < 0 {
		return nil, badParam("upid", "no such task")
	}
	return s.tasks[i], nil
}

func (s *Server) getTaskIndex(*call) (any, error) {
	return []map[string]string{{"name": "log"}, {"name": "status"}}, nil
}

func (s *Server) getTaskStatus(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.findTask(c)
	if err != nil {
		return nil, err
	}
	row := t.row(s.cfg.Node)
	row["status"] = "running"
	if t.exit != "" {
		row["status"], row["exitstatus"] = "stopped", t.exit
	}
	return row, nil
}

func (s *Server) getTaskLog(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.findTask(c)
	if err != nil {
		return nil, err
	}
	start, _ := strconv.Atoi(c.params["start"])
	limit := 50
	if n, err := strconv.Atoi(c.params["limit"]); err == nil {
		limit = n
	}
	rows := []map[string]any{}
	for i, line := range t.log {
		if i >= start && len(rows) < limit {
			rows = append(rows, map[string]any{"n": i + 1, "t": line})
		}
	}
	return page{rows, len(t.log)}, nil
}

func (s *Server) stopTask(c *call) (any, error) {
	s.mu.Lock()
	t, err := s.findTask(c)
	running := err == nil && t.exit == ""
	s.mu.Unlock()
	if running {
		s.endTask(t, errors.New("interrupted by signal"))
	}
	return nil, err
}
