#!/usr/bin/env bash
# Runs all Go tests with the race detector and prints a line a package. Where CI=true a skipped test is a failure:
# nothing that needs root, Docker, LXC or a sample may silently not run there.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
set +e
go test -tags "${LABD_TEST_TAGS:-}" -race -v -count=1 -timeout 20m ./... 2>&1 | tee "$log" | grep --line-buffered -E '^(ok|FAIL|panic:|[[:space:]]*--- (FAIL|SKIP))'
code=${PIPESTATUS[0]}
set -e
if [ "$code" -ne 0 ]; then
	echo "== what failed"
	grep -B 40 -E '^[[:space:]]*--- FAIL|^panic:|^FAIL|\[build failed\]' "$log" | tail -n 400
fi
passed=$(grep -cE '^[[:space:]]*--- PASS' "$log" || true)
failed=$(grep -cE '^[[:space:]]*--- FAIL' "$log" || true)
skipped=$(grep -cE '^[[:space:]]*--- SKIP' "$log" || true)
if [ "$skipped" -gt 0 ]; then
	echo "== skipped, and why"
	grep -B 2 -E '^[[:space:]]*--- SKIP' "$log"
	# Samples of third parties are not part of the repository and may be absent; everything else must run.
	samples=$(grep -cE '_test.go:[0-9]+: LABD_FIXTURES' "$log" || true)
	if [ "${CI:-}" = true ] && [ "$skipped" -gt "$samples" ]; then
		echo "a test was skipped where CI=true" >&2
		code=1
	fi
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit "$code"
