package storage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"labd/internal/host"
)

// ZFS is what ZFS says of its pools. Asked is false where no entry needs it; Err is why it cannot be told.
type ZFS struct {
	Asked bool
	Err   error
	// Pools are the imported pools with their health: ONLINE, DEGRADED, FAULTED, UNAVAIL, SUSPENDED….
	Pools map[string]string
	// Importable are the pools that a scan of the disks found and that are not imported, with their state. ScanErr is why
	// there was none.
	Importable map[string]string
	ScanErr    error
	// Missing are the datasets that entries name and that their pool lacks. DatasetErr is why that cannot be told.
	Missing    map[string]bool
	DatasetErr error
}

// worksZFS tells a health of a pool in which its data can be reached.
func worksZFS(health string) bool { return health == "ONLINE" || health == "DEGRADED" }

// parsePools reads "zpool list -H -o name,health": two columns with a tab between.
func parsePools(data []byte) (map[string]string, error) {
	pools := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			continue
		}
		name, health, ok := strings.Cut(line, "\t")
		if !ok || name == "" {
			return nil, fmt.Errorf("read the list of pools: %q is no pool and health", line)
		}
		pools[name] = strings.TrimSpace(health)
	}
	return pools, nil
}

// parseImport reads what "zpool import" prints of pools that could be imported: blocks of "pool: NAME" and "state:
// STATE" among others (zpool_main.c, show_import).
func parseImport(data []byte) map[string]string {
	pools := map[string]string{}
	name := ""
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "pool":
			name = value
			if name != "" {
				pools[name] = "UNKNOWN"
			}
		case "state":
			if name != "" && pools[name] == "UNKNOWN" {
				pools[name] = value
			}
		}
	}
	return pools
}

// missingDatasets reads what "zfs list" complains of: "cannot open 'tank/x': dataset does not exist". Any other
// complaint is an error.
func missingDatasets(stderr string) (map[string]bool, error) {
	missing := map[string]bool{}
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		rest, ok := strings.CutPrefix(line, "cannot open '")
		name, ok2 := strings.CutSuffix(rest, "': dataset does not exist")
		switch {
		case line == "":
		case ok && ok2:
			missing[name] = true
		default:
			return nil, fmt.Errorf("list datasets: %s", line)
		}
	}
	return missing, nil
}

// poolOf is the pool of a dataset.
func poolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}

// readZFS asks ZFS for the pools and datasets that entries name. It imports nothing: "zpool import" without a name only
// reads labels. A pool that cannot be reached is not asked for its datasets, since that would hang.
func readZFS(ctx context.Context, h *host.Host, datasets []string) ZFS {
	z := ZFS{Asked: true, Missing: map[string]bool{}}
	data, err := runTool(ctx, h, zfsTimeout, "zpool", "list", "-H", "-o", "name,health")
	if err == nil {
		z.Pools, err = parsePools(data)
	}
	if err != nil {
		z.Err = err
		return z
	}
	var ask []string
	absent := false
	for _, d := range datasets {
		health, imported := z.Pools[poolOf(d)]
		absent = absent || !imported
		if imported && worksZFS(health) && strings.Contains(d, "/") && !strings.HasPrefix(d, "-") {
			ask = append(ask, d)
		}
	}
	if len(ask) > 0 {
		_, err := runTool(ctx, h, zfsTimeout, "zfs", append([]string{"list", "-H", "-o", "name"}, ask...)...)
		var exit *host.ExitError
		if errors.As(err, &exit) {
			z.Missing, err = missingDatasets(exit.Stderr)
		}
		z.DatasetErr = err
	}
	if absent {
		z.Importable, z.ScanErr = scanPools(ctx, h)
	}
	return z
}

func scanPools(ctx context.Context, h *host.Host) (map[string]string, error) {
	data, err := runTool(ctx, h, zfsTimeout, "zpool", "import")
	var exit *host.ExitError
	if errors.As(err, &exit) && strings.Contains(exit.Stderr+string(data), "no pools available to import") {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	return parseImport(data), nil
}

// zfsKey changes when a pool or a disk comes or goes. A dataset may go without that, so it does not count for long.
func zfsKey(reader *host.Reader, paths host.Paths) string {
	partitions, _ := reader.File(filepath.Join(paths.Procfs, "partitions"))
	pools, _ := reader.Names(filepath.Join(paths.Procfs, "spl/kstat/zfs"))
	var b strings.Builder
	b.Write(partitions)
	for _, pool := range pools {
		state, _ := reader.Attr(filepath.Join(paths.Procfs, "spl/kstat/zfs", pool, "state"))
		fmt.Fprintln(&b, pool, state)
	}
	return b.String()
}
