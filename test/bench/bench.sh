#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# bench.sh [N [WHAT]]: Davit, with its direct launcher, beside Debian's dockerd. Both run
# now, on the same file system, each in a network namespace of its own; the
# measurements alternate. Prints medians of N (20), of WHAT alone if that is given (see
# compare.go), and fails when an aim is missed.
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
n=${1:-20}
only=${2:-}
run=/run/davit-bench
lib=/var/lib/davit-bench
davit_sock=$run/davit/davit.sock
docker_sock=$run/docker/docker.sock
davit_ns="davit-bench"
docker_ns="davit-bench-docker"
pids=()
missed=0
measured=0

die() {
	echo "bench: $*" >&2
	exit 1
}

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	local status=$? pid
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null || continue
		for _ in $(seq 200); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.05
		done
	done
	if [ "$status" -ne 0 ] && [ "$measured" -eq 0 ]; then
		tail -n 15 "$run"/*.log >&2 || true
	fi
	# dockerd leaves mounts in its directories.
	awk -v a="$run/" -v b="$lib/" 'index($2, a) == 1 || index($2, b) == 1 {print $2}' /proc/mounts | sort -r | while read -r mount; do
		umount -l "$mount" || true
	done
	ip netns delete "$davit_ns" 2>/dev/null || true
	ip netns delete "$docker_ns" 2>/dev/null || true
	rm -rf --one-file-system "$run" "$lib"
	exit "$status"
}

# spawn LOG NETNS COMMAND...: a process of ours in a namespace.
spawn() {
	local log=$1 netns=$2
	shift 2
	nsenter --net="/run/netns/$netns" "$@" </dev/null >>"$log" 2>&1 &
	pids+=($!)
}

wait_for() {
	for _ in $(seq 400); do
		curl --silent --fail --unix-socket "$1" http://d/_ping >/dev/null 2>&1 && return
		sleep 0.05
	done
	die "no answer at $1"
}

image() {
	local root
	root=$(mktemp -d "$run/image.XXXX")
	mkdir -p "$root"/{bin,etc,proc,sys,dev,tmp}
	cp -L "$(command -v busybox)" "$root/bin/busybox"
	ln -s busybox "$root/bin/sh"
	ln -s busybox "$root/bin/true"
	tar --owner=0 --group=0 -C "$root" -cf "$run/image.tar" .
}

[ "$(id -u)" -eq 0 ] || die "needs root"
for program in dockerd docker curl nsenter systemd-socket-activate busybox; do
	command -v $program >/dev/null || die "needs $program"
done
[ ! -e "$run" ] || die "$run is there: does another bench run? Remove it if not"
trap cleanup EXIT
mkdir -p "$run"/{davit,docker} "$lib"/{davit,docker}
for ns in "$davit_ns" "$docker_ns"; do
	ip netns add "$ns"
	nsenter --net="/run/netns/$ns" ip link set lo up
done
echo '{}' >"$run/daemon.json"
image
(cd "$here" && go build -o "$run/measure" ./test/bench)

davit=("$here/bin/davitd" --config-file "$run/daemon.json" --data-root "$lib/davit" --exec-root "$run/davit"
	--pidfile "$run/davitd.pid" --launcher direct)
echo "davitd: $("$here/bin/davitd" --version)"
echo "dockerd: $(dockerd --version)"
echo "kernel $(uname -r), $(nproc) processors, N = $n"

# A cold start each time: the socket is there, the daemon is not.
nsenter --net=/run/netns/$davit_ns "$run/measure" activate -socket "$davit_sock" -n 5 -- \
	systemd-socket-activate -l "$davit_sock" --fdname=api "${davit[@]}" 2>>"$run/activate.log" || missed=1

echo '{}' >"$run/docker.json"
spawn "$run/davitd.log" $davit_ns "${davit[@]}" -H "unix://$davit_sock"
spawn "$run/dockerd.log" "$docker_ns" dockerd --config-file "$run/docker.json" --data-root "$lib/docker" \
	--exec-root "$run/docker/exec" --pidfile "$run/dockerd.pid" -H "unix://$docker_sock"
wait_for "$davit_sock"
wait_for "$docker_sock"
DOCKER_HOST=unix://$davit_sock docker import "$run/image.tar" bench >/dev/null
DOCKER_HOST=unix://$docker_sock docker import "$run/image.tar" bench >/dev/null

mkdir "$lib/shared"
"$run/measure" compare -davit "$davit_sock" -docker "$docker_sock" -davit-pid "$(cat "$run/davitd.pid")" \
	-docker-pid "$(cat "$run/dockerd.pid")" -image bench -dir "$lib/shared" -n "$n" -only "$only" && status=0 || status=$?
# 3: all was measured, and an aim was missed.
[ "$status" -eq 0 ] || [ "$status" -eq 3 ] || exit "$status"
measured=1
exit $((missed > status ? missed : status))
