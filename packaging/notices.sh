#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# notices.sh writes the names, versions and licence texts of all that is linked
# into the binaries. It fails when a module has no licence file. What third_party/
# holds is Davit's own.
set -eu
cd "$(dirname "$0")/.."

modules() {
	go list -deps -tags seccomp,runc_nocriu -f '{{with .Module}}{{if not (or .Main (and .Replace (not .Replace.Version)))}}{{.Path}}	{{.Version}}	{{.Dir}}{{end}}{{end}}' ./cmd/... | sort -u
}

echo "Davit's binaries contain the Go standard library, libseccomp, the GNU C library and these modules."
list=$(mktemp)
trap 'rm -f "$list"' EXIT
modules >"$list"
cut -f 1,2 "$list" | tr '\t' ' '

entry() {
	printf '\n%s\n%s\n\n' "--------------------------------------------------------------------------------" "$1"
	cat "$2"
}

entry "Go standard library, $(go env GOVERSION)" "$(go env GOROOT)/LICENSE"
# davit-monitor and davit-init are static: docs/decisions/0016-the-monitor-is-static.md.
for package in libseccomp-dev libc6-dev; do
	entry "$package $(dpkg-query --show --showformat '${Version}' "$package"), of Debian" "/usr/share/doc/$package/copyright"
done
while IFS='	' read -r path version dir; do
	found=no
	for file in "$dir"/LICENSE* "$dir"/LICENCE* "$dir"/COPYING* "$dir"/NOTICE*; do
		[ -f "$file" ] || continue
		case "$file" in */NOTICE*) ;; *) found=yes ;; esac
		entry "$path $version: $(basename "$file")" "$file"
	done
	if [ "$found" = no ]; then
		echo "notices: $path has no licence file in $dir" >&2
		exit 1
	fi
done <"$list"
