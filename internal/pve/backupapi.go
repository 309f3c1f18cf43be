package pve

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
)

// The calls of this file need Sys.Modify (to read: Sys.Audit) on /, and
// Datastore.Allocate on a storage that a job is given or loses. They go through
// pvesh as root where it can be run.

// A job's ID is any text without blanks; jobs that PVE took over from
// vzdump.cron have a colon in theirs.
var jobIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:\-]{0,49}$`)

func jobPath(id string) (string, error) {
	if !jobIDPattern.MatchString(id) {
		return "", fmt.Errorf("backup job %q: PVE has no job of such an ID", id)
	}
	return "/cluster/backup/" + url.PathEscape(id), nil
}

// BackupJobs returns all backup jobs; each has "id" and its properties as JSON
// values.
func (c *Client) BackupJobs(ctx context.Context) ([]map[string]any, error) {
	var out []map[string]any
	err := c.getAsRoot(ctx, "/cluster/backup", &out)
	return out, err
}

// BackupJob returns one backup job.
func (c *Client) BackupJob(ctx context.Context, id string) (map[string]any, error) {
	path, err := jobPath(id)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	err = c.getAsRoot(ctx, path, &out)
	return out, err
}

// CreateBackupJob adds a backup job, as undo of its removal does. PVE does not
// look whether its storage exists.
func (c *Client) CreateBackupJob(ctx context.Context, id string, props map[string]string) error {
	if _, err := jobPath(id); err != nil {
		return err
	}
	body := map[string]string{}
	maps.Copy(body, props)
	body["id"] = id
	return unwrap(c.root.Post(ctx, "/cluster/backup", body, nil))
}

// UpdateBackupJob sets and unsets properties of a job: "enabled" to "0" switches
// it off. A job whose "storage" is unset writes to the storage local. PVE takes
// no digest here.
func (c *Client) UpdateBackupJob(ctx context.Context, id string, set map[string]string, unset []string) error {
	path, err := jobPath(id)
	if err != nil {
		return err
	}
	body, err := changeBody(set, unset)
	if err != nil {
		return fmt.Errorf("change backup job %s: %w", id, err)
	}
	return unwrap(c.root.Put(ctx, path, body, nil))
}

// DeleteBackupJob removes a job.
func (c *Client) DeleteBackupJob(ctx context.Context, id string) error {
	path, err := jobPath(id)
	if err != nil {
		return err
	}
	return unwrap(c.root.Delete(ctx, path, nil))
}
