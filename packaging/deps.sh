#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# deps.sh PACKAGE... installs the Debian packages that are missing, and touches
# nothing when none is. "+docker" stands for the docker CLI, whatever package
# has it in this release.
set -eu

need_go() {
	if ! command -v go >/dev/null; then
		echo "deps: Go is not installed; the version in go.mod or newer is needed" >&2
		exit 1
	fi
}

installed() {
	dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

need_go
missing=
docker=no
for package in "$@"; do
	if [ "$package" = +docker ]; then
		command -v docker >/dev/null || docker=yes
	elif ! installed "$package"; then
		missing="$missing $package"
	fi
done
[ -n "$missing" ] || [ "$docker" = yes ] || exit 0

root=
[ "$(id -u)" -eq 0 ] || root=sudo
$root apt-get update -q
if [ "$docker" = yes ]; then
	# Debian 12 has the client in docker.io, Debian 13 by itself.
	if apt-cache show docker-cli >/dev/null 2>&1; then
		missing="$missing docker-cli"
	else
		missing="$missing docker.io"
	fi
fi
echo "deps: installing$missing"
# shellcheck disable=SC2086 # a list of package names
$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
