#!/usr/bin/env bash
# Takes the pictures of docs/img from the demo lab, with Debian's Chromium. Wants root, as the demo does.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp) profile=$(mktemp -d)
bin/demo >"$log" 2>&1 &
demo=$!
# shellcheck disable=SC2329 # called by the trap
finish() {
	kill -INT "$demo" 2>/dev/null || true
	wait "$demo" 2>/dev/null || true
	rm -rf "$log" "$profile"
}
trap finish EXIT
for ((i = 0; i < 300; i++)); do
	page=$(sed -n 's|.*Page: \(http://[^ ]*\).*|\1|p' "$log")
	[ -z "$page" ] || break
	kill -0 "$demo" 2>/dev/null || { cat "$log" >&2; exit 1; }
	sleep 1
done
[ -n "$page" ] || { echo "the demo did not come up:" >&2; cat "$log" >&2; exit 1; }
mkdir -p docs/img
# name, width and height, 0 for a dark theme and 1 for a light one
while read -r name size theme; do
	timeout 60 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update \
		--disable-sync --hide-scrollbars --user-data-dir="$profile" --blink-settings=preferredColorScheme="$theme" --window-size="$size" --timeout=4000 \
		--screenshot="docs/img/$name.png" "$page" >/dev/null 2>&1
	echo "docs/img/$name.png"
done <<'SHOTS'
page 1240,1480 1
page-phone 390,1200 0
SHOTS
