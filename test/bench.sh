#!/usr/bin/env bash
# Runs all benchmarks and prints a table: name, runs, and each figure with its unit. Those beside other exporters are a
# module of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
{
	go test -run '^$' -bench . -benchmem "$@" ./... 2>&1
	(cd test/peers && go test -run '^$' -bench . "$@" ./... 2>&1)
} | awk '/^Benchmark/ { printf "%-52s", $1; for (i = 3; i < NF; i += 2) printf "  %12s %-9s", $i, $(i + 1); print "" } /^(FAIL|panic)/ { print; bad = 1 } END { exit bad }'
