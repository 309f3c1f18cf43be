package pvesim

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"labd/internal/pve"
)

// Changes of jobs lock the file of PVE before 7.1, not jobs.cfg.
const backupLock = "file-vzdump_cron"

func (s *Server) backupJobs() ([]pve.RawSection, error) {
	text, err := s.readPVE("jobs.cfg")
	return pve.ParseSections([]byte(text)), err
}

func (s *Server) writeJobs(jobs []pve.RawSection) error {
	var b strings.Builder
	for _, j := range jobs {
		fmt.Fprintf(&b, "%s: %s\n", j.Type, j.ID)
		if v, ok := j.Get("schedule"); ok {
			fmt.Fprintf(&b, "\tschedule %s\n", v)
		}
		values := map[string]string{}
		for _, p := range slices.Backward(j.Properties) {
			values[p.Key] = p.Value
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if key != "schedule" {
				fmt.Fprintf(&b, "\t%s %s\n", key, values[key])
			}
		}
		b.WriteByte('\n')
	}
	return s.writePVE("jobs.cfg", b.String())
}

// jobRow is a job as the API sends it.
func jobRow(j pve.RawSection) map[string]any {
	row := map[string]any{"id": j.ID, "type": j.Type}
	for _, p := range j.Properties {
		switch p.Key {
		case "all", "enabled", "repeat-missed", "remove", "protected":
			n, _ := strconv.Atoi(p.Value)
			row[p.Key] = n
		case "fleecing":
			f := map[string]any{}
			for item := range strings.SplitSeq(p.Value, ",") {
				key, value, ok := strings.Cut(item, "=")
				if !ok {
					key, value = "enabled", item
				}
				f[key] = value
				if n, err := strconv.Atoi(value); err == nil && key == "enabled" {
					f[key] = n
				}
			}
			row[p.Key] = f
		default:
			row[p.Key] = p.Value
		}
	}
	return row
}

func (s *Server) getBackupJobs(c *call) (any, error) {
	if err := c.check("/", "Sys.Audit"); err != nil {
		return nil, err
	}
	jobs, err := s.backupJobs()
	rows := []any{}
	for _, j := range jobs {
		row := jobRow(j)
		row["next-run"] = time.Now().Add(time.Hour).Unix()
		rows = append(rows, row)
	}
	return rows, err
}

func findJob(jobs []pve.RawSection, id string) int {
	return slices.IndexFunc(jobs, func(j pve.RawSection) bool { return j.ID == id })
}

func (s *Server) getBackupJob(c *call) (any, error) {
	if err := c.check("/", "Sys.Audit"); err != nil {
		return nil, err
	}
	jobs, err := s.backupJobs()
	if err != nil {
		return nil, err
	}
	i := findJob(jobs, c.args["id"])
	if i < 0 {
		return nil, badParam("id", fmt.Sprintf("No such job '%s'", c.args["id"]))
	}
	return jobRow(jobs[i]), nil
}

// setJob puts parameters into a job. PVE writes fleecing with its default key
// left out.
func setJob(j *pve.RawSection, params map[string]string) {
	for key, value := range params {
		if key == "fleecing" {
			value = strings.Replace(value, "enabled=", "", 1)
		}
		unsetJob(j, key)
		j.Properties = append(j.Properties, pve.RawProperty{Key: key, Value: value, HasValue: true})
	}
}

func unsetJob(j *pve.RawSection, key string) {
	j.Properties = slices.DeleteFunc(j.Properties, func(p pve.RawProperty) bool { return p.Key == key })
}

func (s *Server) createBackupJob(c *call) (any, error) {
	if err := c.check("/", "Sys.Modify"); err != nil {
		return nil, err
	}
	id := c.params["id"]
	delete(c.params, "id")
	if id == "" {
		id = newUUID()
	}
	if _, ok := c.params["enabled"]; !ok {
		c.params["enabled"] = "1"
	}
	return nil, s.locked(backupLock, nil, func() error {
		jobs, err := s.backupJobs()
		if err != nil {
			return err
		}
		if findJob(jobs, id) >= 0 {
			//lint:ignore ST1005 PVE's text
			return fmt.Errorf("Job '%s' already exists", id)
		}
		j := pve.RawSection{Type: "vzdump", ID: id}
		setJob(&j, c.params)
		return s.writeJobs(append(jobs, j))
	})
}

func (s *Server) updateBackupJob(c *call) (any, error) {
	if err := c.check("/", "Sys.Modify"); err != nil {
		return nil, err
	}
	unset := items(c.params["delete"])
	delete(c.params, "delete")
	if len(c.params)+len(unset) == 0 {
		return nil, errors.New("no options specified")
	}
	return nil, s.locked(backupLock, nil, func() error {
		jobs, err := s.backupJobs()
		if err != nil {
			return err
		}
		i := findJob(jobs, c.args["id"])
		if i < 0 {
			return errors.New("no such vzdump job")
		}
		setJob(&jobs[i], c.params)
		for _, key := range unset {
			unsetJob(&jobs[i], key)
		}
		return s.writeJobs(jobs)
	})
}

func (s *Server) deleteBackupJob(c *call) (any, error) {
	if err := c.check("/", "Sys.Modify"); err != nil {
		return nil, err
	}
	return nil, s.locked(backupLock, nil, func() error {
		jobs, err := s.backupJobs()
		if err != nil {
			return err
		}
		i := findJob(jobs, c.args["id"])
		if i < 0 {
			// PVE raises a parameter error inside the lock, which flattens it.
			return fmt.Errorf("400 Parameter verification failed.\nid: No such job '%s'", c.args["id"])
		}
		return s.writeJobs(slices.Delete(jobs, i, i+1))
	})
}

func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
