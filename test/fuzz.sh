#!/usr/bin/env bash
# Runs every fuzz target of the module for a time each, or those whose name matches: fuzz.sh TIME [NAME]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10m}
name=${2:-.}
failed=0
while IFS=: read -r file target; do
	package=./$(dirname "$file")
	echo "== $package $target"
	if ! go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time"; then
		failed=1
	fi
done < <(git ls-files '*_test.go' | xargs grep -Eo '^func Fuzz[A-Za-z0-9_]+' | sed 's/func //' | grep -E -- "$name" | sort)
exit "$failed"
