#!/usr/bin/env bash
# Makes everything of a release in dist/release: packages and static tarballs for amd64 and arm64, an apt repository that any
# web server can serve, bills of materials, and checksums. Two runs on one commit make the same files, but for signatures.
#   $1 labd's version, as it prints it
#   LABD_SIGNING_KEY  the gpg key that signs the repository and the checksums; without one nothing is signed
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
umask 022
out=dist/release
rm -rf "$out"
mkdir -p "$out/apt/pool" "$out/apt/dists/stable"

for arch in amd64 arm64; do
	package=$(packaging/build.sh "$version" "$arch")
	cp "$package" "$out/apt/pool/"
	# The same files without dpkg, for a host that has none, or a rescue system.
	tree=$(mktemp -d)
	dpkg-deb -x "$package" "$tree/root"
	name=labd_${version#v}_linux_$arch
	mkdir "$tree/$name"
	cp -a "$tree/root/usr/bin/labd" "$tree/root/usr/bin/labctl" "$tree/root/usr/lib/systemd/system/labd.service" "$tree/root/etc/labd/labd.toml" \
		"$tree/root/usr/share/man" "$tree/$name/"
	cp -a "$tree/root/usr/share/doc/labd" "$tree/$name/doc"
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$tree" -c "$name" | gzip -9n >"$out/$name.tar.gz"
	cp "$tree/root/usr/share/doc/labd/sbom.spdx.json" "$out/$name.spdx.json"
	mv "$package" "$out/"
	rm -rf "$tree"
done

# The index of the repository (deb(5), "Debian Repository Format").
(
	cd "$out/apt"
	for arch in amd64 arm64; do
		index=dists/stable/main/binary-$arch
		mkdir -p "$index"
		for package in pool/*_"$arch".deb; do
			dpkg-deb -f "$package"
			printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$package" "$(stat -c %s "$package")" "$(sha256sum "$package" | cut -d ' ' -f 1)"
		done >"$index/Packages"
		gzip -9nk "$index/Packages"
	done
	cd dists/stable
	{
		printf 'Origin: labd\nLabel: labd\nSuite: stable\nCodename: stable\nArchitectures: amd64 arm64\nComponents: main\nDescription: labd\nDate: %s\nSHA256:\n' \
			"$(date -u --date="@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S UTC')"
		find main -type f | sort | while IFS= read -r file; do
			printf ' %s %s %s\n' "$(sha256sum "$file" | cut -d ' ' -f 1)" "$(stat -c %s "$file")" "$file"
		done
	} >Release
)
(cd "$out" && find . -maxdepth 1 -type f ! -name 'SHA256SUMS*' -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS)

if [ -n "${LABD_SIGNING_KEY:-}" ]; then
	sign() { gpg --batch --yes --local-user "$LABD_SIGNING_KEY" "$@"; }
	sign --clearsign --output "$out/apt/dists/stable/InRelease" "$out/apt/dists/stable/Release"
	sign --armor --detach-sign --output "$out/apt/dists/stable/Release.gpg" "$out/apt/dists/stable/Release"
	sign --armor --detach-sign --output "$out/SHA256SUMS.asc" "$out/SHA256SUMS"
	gpg --batch --yes --export "$LABD_SIGNING_KEY" >"$out/apt/labd.gpg"
else
	echo "not signed: LABD_SIGNING_KEY names no key" >&2
fi
(cd "$out" && find . -type f | sort)
