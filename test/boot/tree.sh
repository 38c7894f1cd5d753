#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tree.sh tree|vm DIRECTORY [SUITE] makes, once, what the boot test starts from:
#
#   DIRECTORY/tree-SUITE-REVISION/      a Debian tree with systemd, without Davit
#   DIRECTORY/vm-SUITE-REVISION.N/      the same with a kernel and AppArmor, for a virtual machine
#   DIRECTORY/web-SUITE-REVISION.tar    the root of a Debian-based image with a web server
#
# and prints the paths of the wanted tree and of the image. It downloads packages of
# Debian and nothing else.
# shellcheck disable=SC2016 # hooks expand their own arguments
set -eu

revision=5 # raise when something below changes
kind=$1
cache=$2
suite=${3:-bookworm}
packages=systemd,systemd-sysv,dbus,polkitd,libglib2.0-bin,iptables,iproute2,libseccomp2,procps,curl,kmod,udev
case $kind in
tree) tree=$cache/tree-$suite-$revision ;;
vm)
	tree=$cache/vm-$suite-$revision.1 # likewise, when this does
	packages=$packages,linux-image-cloud-amd64,initramfs-tools,apparmor
	;;
*)
	echo "usage: tree.sh tree|vm DIRECTORY [SUITE]" >&2
	exit 2
	;;
esac
web=$cache/web-$suite-$revision.tar

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

if [ ! -d "$tree" ]; then
	rm -rf "$tree.new"
	mmdebstrap --quiet --variant=minbase \
		--include=$packages \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--customize-hook='echo davit-guest > "$1/etc/hostname"; mkdir -p "$1/var/log/journal"; : > "$1/etc/machine-id"' \
		"$suite" "$tree.new" >&2
	mv "$tree.new" "$tree"
fi

if [ ! -f "$web" ]; then
	mmdebstrap --quiet --variant=minbase --include=busybox \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--customize-hook='mkdir -p "$1/srv/www"; echo "served by Davit" > "$1/srv/www/index.html"' \
		--format=tar "$suite" "$web.new" >&2
	mv "$web.new" "$web"
fi

echo "$tree"
echo "$web"
