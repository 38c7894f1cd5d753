#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# image.sh DIRECTORY makes, once, the layers of a Debian image with redis-server
# and prints the directory that holds them:
#
#   1.tar   Debian, without redis
#   2.tar   redis as its packages have it, and dpkg's record of them
#   3.tar   a configuration; the packages' own is taken away by a whiteout
set -eu

revision=1 # raise when something below changes
cache=$1
suite=bookworm
layers=$cache/redis-$suite-$revision

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ -d "$layers" ]; then
	echo "$layers"
	exit
fi

work=$(mktemp -d "$cache/redis.XXXXXX")
trap 'rm -rf "$work"' EXIT
mmdebstrap --quiet --variant=minbase --include=redis-server \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$work/root" >&2

cd "$work/root"
# Files, not directories, of the packages that the second layer adds, by the path
# that leads through no link: /lib is one.
for list in var/lib/dpkg/info/redis*.list var/lib/dpkg/info/lib*jemalloc*.list; do
	while read -r path; do
		if [ -f ".$path" ]; then
			printf '.%s/%s\n' "$(cd ".${path%/*}" && pwd -P | sed "s|^$work/root||")" "${path##*/}"
		fi
	done <"$list"
done | sort -u >"$work/second"
find ./var/lib/dpkg -type f >>"$work/second"
mkdir "$work/layers"
tar --numeric-owner --exclude-from="$work/second" -cf "$work/layers/1.tar" .
tar --numeric-owner -cf "$work/layers/2.tar" -T "$work/second"

mkdir -p "$work/third/etc/redis"
cat >"$work/third/etc/redis/davit.conf" <<-CONF
	bind 0.0.0.0
	protected-mode no
	dir /var/lib/redis
	appendonly yes
CONF
: >"$work/third/etc/redis/.wh.redis.conf"
tar --numeric-owner --owner=0 --group=0 -C "$work/third" -cf "$work/layers/3.tar" etc
mv "$work/layers" "$layers"
echo "$layers"
