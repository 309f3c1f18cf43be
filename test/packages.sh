#!/usr/bin/env bash
# Installs the Debian packages named as arguments that are missing, without starting or enabling any service of
# theirs: Docker would change the machine's firewall.
set -euo pipefail

missing=()
for package in "$@"; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
	echo "these Debian packages are missing and only root can install them: ${missing[*]}" >&2
	exit 1
fi

before=$(mktemp)
policy=/usr/sbin/policy-rc.d
restore() {
	rm -f "$before"
	if [ -e "$policy.labd-saved" ]; then
		mv "$policy.labd-saved" "$policy"
	else
		rm -f "$policy"
	fi
}
systemctl list-unit-files --no-legend --no-pager 2>/dev/null | awk '{print $1}' | sort >"$before" || true
[ ! -e "$policy" ] || mv "$policy" "$policy.labd-saved"
trap restore EXIT
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi
rm -f "$log"

# What came new must not start at the next boot either.
systemctl list-unit-files --no-legend --no-pager --state=enabled 2>/dev/null | awk '{print $1}' | sort |
	comm -13 "$before" - | grep -E '^(docker|containerd|lxc|prometheus|postfix|frr|radvd|dhcpcd)' | xargs -r systemctl disable -q 2>/dev/null || true
