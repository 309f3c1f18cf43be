package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"labd/internal/host"
	"labd/internal/pve"
)

// Reference is one place that names a storage.
type Reference struct {
	pve.Reference
	// Guest and Node are the guest that it is in, with Guest.ID 0 outside guests.
	Guest pve.GuestRef
	// Kept says that it is none of this node's: the entry stays for the node that it is on.
	Kept bool
}

// Effects is what files beside the guests' own say of what a storage's going away means for them.
type Effects struct {
	// HA are the guests that HA manages, as it names them: "vm:100", "ct:101".
	HA []string
	// Replication are the replication jobs.
	Replication []pve.ReplicationJob
	// Jobs are the properties of backup jobs, by id.
	Jobs map[string]map[string]string
}

type referencesAnswer struct {
	index *pve.ReferenceIndex
	err   error
}

// needsReferences tells whether an entry is in a state in which it may be changed, so that it matters what names it.
func needsReferences(e Entry) bool {
	switch e.Verdict {
	case VerdictGone, VerdictMasked, VerdictOrphanNode, VerdictMalformed, VerdictUnsupported:
		return true
	}
	return false
}

// readReferences reads everything that may name one of these entries.
func (o *Observer) readReferences(ctx context.Context, f *Facts, reader *host.Reader, entries []Entry) {
	users, err := reader.File(filepath.Join(o.host.PVE, "user.cfg"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.UsersErr = fmt.Errorf("read user.cfg: %w", err)
	}
	f.Users = pve.ParseUserConfig(users)
	ctx, cancel := context.WithTimeout(ctx, pmxcfsTimeout)
	defer cancel()
	all, ok := o.references.get(ctx, "", 0, func() referencesAnswer {
		index, err := pve.ReadReferences(pve.DirFS(o.host.PVE))
		return referencesAnswer{index, err}
	})
	if !ok {
		all.err = errPMXCFS
	}
	vzdump, err := o.readOptional(reader, f.VzdumpFile)
	f.VzdumpLines = map[int]string{}
	for i, line := range strings.Split(string(vzdump), "\n") {
		f.VzdumpLines[i+1] = line
	}
	f.Secrets = o.readSecrets(reader, f.Config)
	effects, effectsErr := o.readEffects(reader)
	f.Effects = effects
	if err := errors.Join(all.err, err, effectsErr); err != nil {
		f.ReferencesErr = fmt.Errorf("look for references: %w", err)
		return
	}
	outside := o.readOutside(reader)
	for _, e := range entries {
		dir := e.Path
		if e.section != nil {
			_, keeps := keepsUnit(f, &e, nil)
			if point := e.section.MountPoint(); point != "" && isBelow(dir, point) && !keeps {
				dir = point // the whole file system goes away with its unit
			}
		}
		id := e.ID
		if e.Type == TypeUnit {
			id = "" // nobody can name it but by its path
		}
		f.References[e.ID] = append(all.index.Of(id, dir), pve.VzdumpReferences(vzdump, id, dir)...)
		f.Elsewhere[e.ID] = outside.naming(dir)
	}
}

// secretEndings are what follows the id in the names of PVE's files of secrets, by directory below priv.
var secretEndings = map[string][]string{"storage": {".pw", ".enc", ".master.pem"}, "ceph": {".keyring", ".secret", ".conf"}}

// readSecrets finds the files of keys and passwords; their text is read only by the step that removes them.
func (o *Observer) readSecrets(reader *host.Reader, config *pve.StorageConfig) map[string][]string {
	out := map[string][]string{}
	for _, dir := range []string{"storage", "ceph"} {
		names, err := reader.Names(filepath.Join(o.host.PVE, "priv", dir))
		if err != nil {
			continue
		}
		for _, s := range config.Sections {
			for _, ending := range secretEndings[dir] {
				if slices.Contains(names, s.ID+ending) {
					out[s.ID] = append(out[s.ID], dir+"/"+s.ID+ending)
				}
			}
		}
	}
	return out
}

// readOptional reads a file that may be missing.
func (o *Observer) readOptional(reader *host.Reader, file string) ([]byte, error) {
	data, err := reader.File(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// readEffects reads which guests HA manages, which are replicated where, and what backup jobs do.
func (o *Observer) readEffects(reader *host.Reader) (Effects, error) {
	out := Effects{Jobs: map[string]map[string]string{}}
	var texts [3][]byte
	for i, name := range []string{"ha/resources.cfg", "replication.cfg", "jobs.cfg"} {
		var err error
		if texts[i], err = o.readOptional(reader, filepath.Join(o.host.PVE, name)); err != nil {
			return out, err
		}
	}
	for _, s := range pve.ParseSections(texts[0]) {
		if state, _ := s.Get("state"); state != "ignored" {
			out.HA = append(out.HA, s.Type+":"+s.ID)
		}
	}
	out.Replication = pve.ParseReplicationConfig(texts[1])
	for _, s := range pve.ParseSections(texts[2]) {
		props := map[string]string{}
		for _, p := range s.Properties {
			props[p.Key] = p.Value
		}
		out.Jobs[s.ID] = props
	}
	return out, nil
}

// outside are the files of this node beyond PVE's own that may name a directory: what is exported, shared or run.
type outside map[string][]byte

func (o *Observer) readOutside(reader *host.Reader) outside {
	out := outside{}
	files := []string{"exports", "samba/smb.conf", "crontab"}
	if names, err := reader.Names(filepath.Join(o.host.Etc, "cron.d")); err == nil {
		for _, name := range names {
			files = append(files, "cron.d/"+name)
		}
	}
	for _, name := range files {
		if data, err := reader.File(filepath.Join(o.host.Etc, name)); err == nil {
			out["/etc/"+name] = data
		}
	}
	return out
}

// naming lists the lines that name a directory or something in it.
func (o outside) naming(dir string) []string {
	if dir == "" {
		return nil
	}
	var out []string
	for file, data := range o {
		n := 0
		for line := range strings.Lines(string(data)) {
			n++
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n\r\"'=,;()", r) }) {
				if strings.HasPrefix(word, "/") && isBelow(word, dir) {
					out = append(out, fmt.Sprintf("%s line %d", file, n))
					break
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// referencesOf are the references to an entry, each with what it means for a change on this node.
func referencesOf(f *Facts, e *Entry) []Reference {
	var out []Reference
	others := e.section != nil && e.isLost() && len(otherNodes(f, e)) > 0
	guests := map[int]bool{}
	for _, r := range f.References[e.ID] {
		ref := Reference{Reference: r, Guest: guestOf(r.File)}
		if ref.Guest.ID != 0 {
			guests[ref.Guest.ID] = true
		}
		switch {
		case !others:
		case ref.Guest.ID != 0:
			ref.Kept = ref.Guest.Node != f.Node
		case r.File == "jobs.cfg":
			node := f.Effects.Jobs[r.Section]["node"]
			// A job without a node runs on all of them, and still has the storage on the others.
			ref.Kept = node != f.Node
		}
		out = append(out, ref)
	}
	if !others {
		return out
	}
	for _, job := range f.Effects.Replication {
		if job.Target == f.Node && guests[job.Guest] && !job.Removing {
			out = append(out, Reference{Reference: pve.Reference{
				File: "replication.cfg", Section: job.ID, Key: "target", Value: job.Target, Line: job.Line, Grade: pve.Block,
				Reason: fmt.Sprintf("guest %d, whose volumes are on the storage of that name elsewhere, is copied to this node", job.Guest),
			}})
		}
	}
	return out
}

// guestOf is the guest whose file it is: nodes/NODE/qemu-server/100.conf.
func guestOf(file string) pve.GuestRef {
	parts := strings.Split(file, "/")
	if len(parts) != 4 || parts[0] != "nodes" {
		return pve.GuestRef{}
	}
	kind := pve.QEMU
	if parts[2] == "lxc" {
		kind = pve.LXC
	}
	id, err := strconv.Atoi(strings.TrimSuffix(parts[3], ".conf"))
	if err != nil {
		return pve.GuestRef{}
	}
	return pve.GuestRef{Kind: kind, ID: id, Node: parts[1]}
}

// haNotes say what the entry's going away from this node means for HA.
func haNotes(f *Facts, e *Entry) []string {
	var out []string
	for _, r := range e.References {
		kind := "vm:"
		if r.Guest.Kind == pve.LXC {
			kind = "ct:"
		}
		sid := kind + strconv.Itoa(r.Guest.ID)
		note := fmt.Sprintf("HA manages %s, which has a volume on it: on %s HA cannot start it any more.", sid, f.Node)
		if r.Guest.ID != 0 && slices.Contains(f.Effects.HA, sid) && !slices.Contains(out, note) {
			out = append(out, note)
		}
	}
	return out
}

// unseenNotes say what no file of this node can tell.
func unseenNotes(f *Facts, e *Entry) []string {
	var out []string
	if e.Type == "pbs" {
		out = append(out, "Not seen from here: jobs on the backup server itself, as prune, verify and sync, go on there.")
	}
	if len(f.Cluster.Members) > 1 {
		out = append(out, "Not seen from here: /etc/vzdump.conf, /etc/fstab and exports of the other nodes.")
	}
	if elsewhere := f.Elsewhere[e.ID]; len(elsewhere) > 0 {
		out = append(out, "Its directory is also named in "+strings.Join(elsewhere, ", ")+"; labd leaves those alone.")
	}
	return out
}
