package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const prefix = "labd-"

func (l *Lab) hostNet() string { return prefix + l.Name + "-pve" }
func (l *Lab) lanNet() string  { return prefix + l.Name + "-lan" }

func netnsPath(name string) string { return "/run/netns/" + name }

// cgroupPath is the lab's group in the cgroup2 hierarchy, wherever the machine has it.
func cgroupPath(name string) (string, error) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(root, &st) == nil && int64(st.Type) == unix.CGROUP2_SUPER_MAGIC {
			return filepath.Join(root, prefix+name), nil
		}
	}
	return "", errors.New("this machine has no cgroup2 hierarchy")
}

// takeName locks a lab's name; the lock ends with the owner.
func takeName(base, name string) (*os.File, error) {
	path := filepath.Join(base, name+".lock")
	for {
		if err := os.MkdirAll(base, 0o755); err != nil {
			return nil, fmt.Errorf("take the lab's name: %w", err)
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another lab's end removed the directory in between
		}
		if err != nil {
			return nil, fmt.Errorf("take the lab's name: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return nil, errors.Join(fmt.Errorf("a lab %s runs already: %w", name, err), f.Close())
		}
		// The owner before may have removed the file between our opening and locking it.
		held, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(held, there) {
			return f, nil
		}
		_ = f.Close()
	}
}

// giveName removes the lock, and the directory of all labs when this was the last.
func giveName(lock *os.File) error {
	err := os.Remove(lock.Name())
	_ = os.Remove(filepath.Dir(lock.Name()))
	return errors.Join(err, lock.Close())
}

// Cleanup takes away what a lab left whose owner was killed. It is no error when nothing is left; it is one when the
// lab runs.
func Cleanup(base, name string) error {
	if base == "" {
		base = DefaultBase
	}
	lock, err := takeName(base, name)
	if err != nil {
		return err
	}
	return errors.Join(cleanup(filepath.Join(base, name), name), giveName(lock))
}

// CleanupStale takes away every lab below base whose owner is dead and returns their names.
func CleanupStale(base string) ([]string, error) {
	if base == "" {
		base = DefaultBase
	}
	entries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !validName.MatchString(e.Name()) {
			continue
		}
		lock, err := takeName(base, e.Name())
		if err != nil {
			continue // its owner lives
		}
		errs = append(errs, cleanup(filepath.Join(base, e.Name()), e.Name()), giveName(lock))
		names = append(names, e.Name())
	}
	return names, errors.Join(errs...)
}

// cleanup works from names alone: the cgroup's processes, the cgroup, the namespaces, the loop devices, the directory.
func cleanup(dir, name string) error {
	var errs []error
	group, err := cgroupPath(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(group); err == nil {
		errs = append(errs, killGroup(group))
	}
	for _, suffix := range []string{"-pve", "-lan"} {
		if _, err := os.Stat(netnsPath(prefix + name + suffix)); err == nil {
			_, err := run(exec.Command("ip", "netns", "delete", prefix+name+suffix))
			errs = append(errs, err)
		}
	}
	errs = append(errs, detachLoops(dir))
	errs = append(errs, os.RemoveAll(dir))
	return errors.Join(errs...)
}

// killGroup kills every process in the group and below, and removes the groups, deepest first.
func killGroup(group string) error {
	if err := os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0); err != nil {
		return fmt.Errorf("kill the lab's processes: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		last = removeGroups(group)
		if last == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("remove the lab's cgroup: %w", last)
		}
	}
}

func removeGroups(group string) error {
	var groups []string
	err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return nil // groups vanish while they are walked
	})
	if err != nil {
		return err
	}
	for _, g := range slices.Backward(groups) {
		if err := os.Remove(g); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// detachLoops detaches every loop device whose backing file lies below dir.
func detachLoops(dir string) error {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// A deleted backing file has " (deleted)" behind its name.
		if strings.HasPrefix(string(data), dir+"/") {
			_, err := run(exec.Command("losetup", "--detach", "/dev/"+strings.Split(file, "/")[3]))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
