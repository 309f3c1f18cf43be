#!/usr/bin/env bash
# Builds dist/labd_VERSION_ARCH.deb from the working tree. Two builds of one commit are byte-identical: all times are that
# of the commit, or SOURCE_DATE_EPOCH.
#   $1 labd's version, as it prints it, $2 the architecture (default amd64)
set -euo pipefail
cd "$(dirname "$0")/.."
program_version=$1
arch=${2:-amd64}
# A tag v1.2.3 becomes 1.2.3, and four commits behind it 1.2.3+4.gHASH. Without a tag, 0~git… comes before any release.
case $program_version in
v[0-9]* | [0-9]*) version=$(printf '%s' "${program_version#v}" | sed -e 's/-/+/' -e 's/-/./g') ;;
*) version=0~git$(git log -1 --format=%cd --date=format:%Y%m%d).$(printf '%s' "$program_version" | sed 's/-/./g') ;;
esac
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
umask 022

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
put() { install -D -m "$1" "$2" "$root/$3"; }

mkdir -p "$root/usr/bin" "$root/usr/share/man/man1"
CGO_ENABLED=0 GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$program_version" -o "$root/usr/bin/" ./cmd/labd ./cmd/labctl
put 644 systemd/labd.service usr/lib/systemd/system/labd.service
put 644 packaging/labd.toml etc/labd/labd.toml
put 644 packaging/rt_protos.conf etc/iproute2/rt_protos.d/labd.conf
put 644 packaging/lintian-overrides usr/share/lintian/overrides/labd

# What is generated from the commands runs here, whatever the package's architecture.
tools=$(mktemp -d)
trap 'rm -rf "$root" "$tools"' EXIT
go build -trimpath -o "$tools/" ./cmd/labctl ./packaging/man ./packaging/sbom
"$tools/man" "$root/usr/share/man" "$program_version"
put 644 packaging/labd.8 usr/share/man/man8/labd.8
find "$root/usr/share/man" -type f -exec gzip -9n {} +
mkdir -p "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
"$tools/labctl" completion bash >"$root/usr/share/bash-completion/completions/labctl"
"$tools/labctl" completion zsh >"$root/usr/share/zsh/vendor-completions/_labctl"
"$tools/labctl" completion fish >"$root/usr/share/fish/vendor_completions.d/labctl.fish"

doc=usr/share/doc/labd
mkdir -p "$root/$doc"
"$tools/sbom" "$root/$doc/sbom.spdx.json" "$root/$doc/third-party-licences" "$program_version" "$root/usr/bin/labd" "$root/usr/bin/labctl"
gzip -9n "$root/$doc/third-party-licences"
put 644 packaging/copyright "$doc/copyright"
printf 'labd (%s) stable; urgency=medium\n\n  * See CHANGELOG.md in this directory.\n\n -- %s  %s\n' "$version" \
	"$(sed -n 's/^Maintainer: //p' packaging/control)" "$(date -u -R --date="@$SOURCE_DATE_EPOCH")" | gzip -9n >"$root/$doc/changelog.gz"
# The pages of docs/ and those of the project lie side by side here, so links between them lose their way through the tree.
sed -e 's#](docs/#](#g' CHANGELOG.md >"$root/$doc/CHANGELOG.md"
sed -e 's#](docs/#](#g' CONTRIBUTING.md >"$root/$doc/CONTRIBUTING.md"
(cd docs && find . -type f ! -name '*.go' -print0) | while IFS= read -r -d '' page; do
	mkdir -p "$root/$doc/$(dirname "$page")"
	sed -e 's#](\.\./\.\./deploy/\(prometheus\|grafana\)/#](../examples/#g' -e 's#](\.\./deploy/\(prometheus\|grafana\)/#](examples/#g' \
		-e 's#](\.\./\(CONTRIBUTING\|CHANGELOG\)\.md#](\1.md#g' -e 's#](\.\./README\.md#](README.md#g' "docs/$page" >"$root/$doc/$page"
done
find "$root/$doc" -type f -exec chmod 644 {} +
for file in deploy/prometheus/labd.rules.yml deploy/grafana/labd.json; do put 644 "$file" "$doc/examples/$(basename "$file")"; done

mkdir "$root/DEBIAN"
for script in preinst postinst prerm postrm; do install -m 755 "packaging/$script" "$root/DEBIAN/$script"; done
(cd "$root" && find etc -type f | sort | sed 's#^#/#') >"$root/DEBIAN/conffiles"
(cd "$root" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
size=$(du -k -s --apparent-size --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" packaging/control >"$root/DEBIAN/control"
chmod 644 "$root"/DEBIAN/{conffiles,md5sums,control}
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

mkdir -p dist
package=dist/labd_${version}_${arch}.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
