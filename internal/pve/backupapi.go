package pve

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
)

// The call of this file needs Sys.Modify on /, and Datastore.Allocate on a storage
// that a job is given or loses. It goes through pvesh as root where it can be run.

// A job's ID is any text without blanks; jobs that PVE took over from
// vzdump.cron have a colon in theirs.
var jobIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:\-]{0,49}$`)

func jobPath(id string) (string, error) {
	if !jobIDPattern.MatchString(id) {
		return "", fmt.Errorf("backup job %q: PVE has no job of such an ID", id)
	}
	return "/cluster/backup/" + url.PathEscape(id), nil
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
