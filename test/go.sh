#!/usr/bin/env bash
# Says where to get Go when there is none, or one that is too old, before anything else is installed or built.
#   $1 the Go program
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' go.mod)
help="Get it from https://go.dev/dl/ (Debian's own is older): unpack it to /usr/local/go, then: export PATH=\$PATH:/usr/local/go/bin"
if ! command -v "$1" >/dev/null; then
	printf 'labd is built with Go %s or later, and there is no Go here.\n%s\n' "$wanted" "$help" >&2
	exit 1
fi
# From 1.21 on Go fetches the version that go.mod names, where there is a network.
found=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed -n 's/^go\([0-9]*\.[0-9]*\).*/\1/p')
at_least() { [ "$(printf '%s\n%s\n' "$1" "${found:-0}" | sort -V | head -n 1)" = "$1" ]; }
if ! at_least "$wanted" && ! { at_least 1.21 && "$1" version >/dev/null 2>&1; }; then
	printf 'labd is built with Go %s or later; this one is %s.\n%s\n' "$wanted" "${found:-unknown}" "$help" >&2
	exit 1
fi
