package pve

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Task is a PVE worker process.
type Task struct {
	UPID       string `json:"upid"`
	Node       string `json:"node"`
	Type       string `json:"type"` // "dirremove", "vzdump"
	ID         string `json:"id"`   // what it works on: a guest, a storage
	User       string `json:"user"`
	StartTime  int64  `json:"starttime"` // seconds since 1970
	Status     string `json:"status"`    // "running" or "stopped"; in a list the exit status of a finished task
	ExitStatus string `json:"exitstatus"`
}

// Running reports whether the task has not ended yet.
func (t Task) Running() bool { return t.ExitStatus == "" && (t.Status == "running" || t.Status == "") }

// OK reports whether the task has ended well; warnings do not make it fail.
func (t Task) OK() bool {
	return t.ExitStatus == "OK" || strings.HasPrefix(t.ExitStatus, "WARNINGS: ")
}

// ActiveTasks returns the running tasks of a node that the token may see: all
// of them with Sys.Audit on the node, else only its own.
func (c *Client) ActiveTasks(ctx context.Context, node string) ([]Task, error) {
	if err := checkNodeName(node); err != nil {
		return nil, fmt.Errorf("node %q: %w", node, err)
	}
	var out []Task
	err := c.get(ctx, "/nodes/"+node+"/tasks?source=active", &out)
	return out, err
}

// TaskStatus returns the state of one task.
func (c *Client) TaskStatus(ctx context.Context, upid string) (Task, error) {
	var t Task
	f := strings.Split(upid, ":")
	if len(f) != 9 || f[0] != "UPID" || checkNodeName(f[1]) != nil {
		return t, fmt.Errorf("task ID %q: want UPID:NODE:PID:PSTART:START:TYPE:ID:USER: as PVE gives them", upid)
	}
	err := c.get(ctx, "/nodes/"+f[1]+"/tasks/"+url.PathEscape(upid)+"/status", &t)
	return t, err
}

// WaitTask asks for the state of a task until it has ended or ctx is done.
func (c *Client) WaitTask(ctx context.Context, upid string, every time.Duration) (Task, error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		t, err := c.TaskStatus(ctx, upid)
		if err != nil || !t.Running() {
			return t, err
		}
		select {
		case <-ctx.Done():
			return t, fmt.Errorf("waiting for task %s: %w", upid, ctx.Err())
		case <-tick.C:
		}
	}
}
