#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# demo.sh start|stop: an engine of its own beside whatever else runs here, a
# small image, a container, and what can be seen of them. `make demo` calls it.
#
# Where PID 1 is systemd, the engine and its socket are transient units, and the
# container is a unit. Elsewhere systemd-socket-activate stands in for PID 1, a bus is
# started if there is none, and the engine lives in a network namespace of its
# own, so that the demo changes nothing of this machine's network;
# DAVIT_DEMO_NETNS=host puts it in the machine's.
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
run=/run/davit-demo
lib=/var/lib/davit-demo
socket=$run/davit.sock
link=davit-demo0
name=hello
policy=/etc/dbus-1/system.d/davit-demo.conf
engine=(org.davit.Engine1 /org/davit/Engine1 org.davit.Engine1.Manager)

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() {
	echo "demo: $*" >&2
	exit 1
}
booted() { [ -d /run/systemd/system ]; }
# rest METHOD PATH [CURL-ARGUMENT...]: one request to the engine.
rest() {
	local method=$1 path=$2
	shift 2
	curl --silent --show-error --fail-with-body --unix-socket "$socket" --request "$method" "http://davit/v1.44$path" "$@"
}
alive() { curl --silent --fail --max-time 5 --unix-socket "$socket" http://davit/_ping >/dev/null 2>&1; }
# field NAME: the first value of a string member of the JSON on stdin.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" | head -n 1; }
bus() { env ${bus_address:+DBUS_SYSTEM_BUS_ADDRESS="$bus_address"} busctl "$@"; }
# inside: run in the engine's network namespace.
inside() {
	if [ -s "$run/netns" ]; then
		nsenter --net="/run/netns/$(cat "$run/netns")" "$@"
	else
		"$@"
	fi
}

find_bus() {
	bus_address=
	if [ -f "$run/bus.address" ]; then
		bus_address=$(cat "$run/bus.address")
	fi
}

# start_bus: the system bus with leave to own the name, or a bus of our own.
start_bus() {
	if busctl --quiet call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus GetId 2>/dev/null; then
		if busctl --quiet status "${engine[0]}" >/dev/null 2>&1; then
			die "an engine is on the system bus already; use it, or stop it with: systemctl stop davit.socket davit.service"
		fi
		if [ ! -e /usr/share/dbus-1/system.d/org.davit.Engine1.conf ]; then
			install -D -m 0644 "$here/contrib/dbus/org.davit.Engine1.conf" "$policy"
			busctl --quiet call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
		fi
		return
	fi
	cat >"$run/bus.conf" <<-CONF
		<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
		<busconfig>
		  <type>system</type>
		  <listen>unix:path=$run/bus.sock</listen>
		  <auth>EXTERNAL</auth>
		  <policy context="default">
		    <allow user="*"/>
		    <allow send_type="method_call"/><allow send_type="signal"/>
		    <allow send_type="method_return"/><allow send_type="error"/>
		    <allow receive_type="method_call"/><allow receive_type="signal"/>
		    <allow receive_type="method_return"/><allow receive_type="error"/>
		  </policy>
		  <include>$here/contrib/dbus/org.davit.Engine1.conf</include>
		</busconfig>
	CONF
	setsid dbus-daemon --config-file="$run/bus.conf" --fork --print-pid=3 3>"$run/bus.pid"
	echo "unix:path=$run/bus.sock" >"$run/bus.address"
}

start_engine() {
	local flags=(--config-file "$run/daemon.json" --data-root "$lib" --exec-root "$run" --pidfile "$run/davitd.pid" --bridge "$link")
	echo "{}" >"$run/daemon.json" # and not the configuration of an engine that is installed
	if booted; then
		systemd-run --quiet --collect --unit=davit-demo --description="Davit demo" --service-type=notify \
			--socket-property=ListenStream="$socket" --socket-property=FileDescriptorName=api \
			--socket-property=SocketMode=0660 --socket-property=RemoveOnStop=yes \
			--property=Restart=on-failure --property=RuntimeDirectoryPreserve=yes \
			"$here/bin/davitd" "${flags[@]}"
		return
	fi
	local netns=${DAVIT_DEMO_NETNS:-davit-demo}
	if [ "$netns" != host ]; then
		[ -e "/run/netns/$netns" ] || ip netns add "$netns"
		echo "$netns" >"$run/netns"
		inside ip link set lo up
	fi
	local environment=()
	find_bus
	[ -z "$bus_address" ] || environment=(-E "DBUS_SYSTEM_BUS_ADDRESS=$bus_address")
	rm -f "$socket"
	# The same process becomes systemd-socket-activate and then the engine.
	# shellcheck disable=SC2016 # expanded by the inner shell
	inside setsid bash -c 'echo $$ >"$0"; exec "$@"' "$run/engine.pid" \
		systemd-socket-activate -l "$socket" --fdname=api "${environment[@]}" \
		"$here/bin/davitd" "${flags[@]}" </dev/null >>"$run/davitd.log" 2>&1 &
	for _ in $(seq 100); do
		[ ! -S "$socket" ] || return 0
		sleep 0.05
	done
	die "no socket at $socket; $run/davitd.log says why"
}

# make_image: a root with one static program in it.
make_image() {
	local root
	root=$(mktemp -d)
	mkdir -p "$root"/{bin,etc,proc,sys,dev,tmp,root,srv}
	cp -L "$(command -v busybox)" "$root/bin/busybox"
	local applet
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
	done
	echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
	echo 'served from a container' >"$root/srv/index.html"
	tar --owner=0 --group=0 --numeric-owner -C "$root" -cf - . |
		rest POST '/images/create?fromSrc=-&repo=busybox&tag=latest' --header 'Content-Type: application/x-tar' --data-binary @- |
		tail -n 1 | field status
	rm -rf "$root"
}

run_container() {
	local id
	# shellcheck disable=SC2016 # expanded in the container
	id=$(rest POST "/containers/create?name=$name" --header 'Content-Type: application/json' --data '{
		"Image": "busybox:latest", "Tty": true,
		"Cmd": ["sh", "-c", "echo Hello from container $(hostname), process $$; ip -o -4 addr show eth0; exec httpd -f -h /srv"],
		"StopSignal": "SIGKILL"
	}' | field Id)
	[ -n "$id" ] || die "the engine made no container"
	rest POST "/containers/$id/start" --output /dev/null --dump-header - | grep -i '^davit-job:' || true
	echo "$id" >"$run/container"
}

show() {
	local id text
	id=$(cat "$run/container")
	say "Its output"
	for _ in $(seq 100); do
		text=$(rest GET "/containers/$id/logs?stdout=1" | tr -d '\r')
		case $text in *eth0*) break ;; esac
		sleep 0.05
	done
	echo "$text"

	say "The last jobs, on the bus"
	# a(ussssdo): id, type, subject, state, result, progress, object path.
	printf '  %5s  %-20s %-10s %s\n' id type subject result
	bus --json=short call "${engine[@]}" ListJobs | sed 's/^.*"data":\[\[//; s/\],\[/\n/g' | tr -d '[]{}"' |
		awk -F, 'NF >= 7 {printf "  %5s  %-20s %-10s %s\n", $1, $2, $3, $5}' | tail -n 6

	if booted; then
		say "The container is a unit"
		# An engine beside the installed one adds a hash to the names of its units.
		systemctl status --no-pager --lines=0 "davit-$name*.service"
	else
		say "The container's monitor (it needs no daemon)"
		pgrep -af "davit-holder $id" || true
	fi
}

start() {
	[ "$(id -u)" -eq 0 ] || die "needs root"
	[ -x "$here/bin/davitd" ] || die "bin/davitd is missing: run make build"
	if alive; then
		say "The demo's engine runs already"
	else
		[ ! -e "$run" ] || die "$run is there, but no engine answers: run make demo-stop first"
		mkdir -p "$run" "$lib"
		chmod 0711 "$run"
		start_bus
		start_engine
		say "Connecting to the idle socket starts the engine"
		for key in Version ApiVersion GoVersion; do
			rest GET /version | grep -o "\"$key\":\"[^\"]*\"" | head -n 1 | tr -d '"' | sed 's/^/  /; s/:/ /'
		done
		say "An image of busybox, imported"
		make_image
		say "A container from it, over REST"
		find_bus
		run_container
		show
	fi
	say "The engine keeps running. To use it:"
	echo "  export DOCKER_HOST=unix://$socket"
	echo "  docker ps        # or: curl --unix-socket $socket http://d/containers/json"
	if [ -s "$run/bus.address" ]; then
		echo "  export DBUS_SYSTEM_BUS_ADDRESS=$(cat "$run/bus.address")"
	fi
	echo "  busctl call ${engine[*]} ListJobs"
	if [ -s "$run/netns" ]; then
		echo "Its network is namespace $(cat "$run/netns"): published ports are reached from there,"
		echo "  nsenter --net=/run/netns/$(cat "$run/netns") curl http://127.0.0.1:PORT/"
		echo "or run the demo with DAVIT_DEMO_NETNS=host."
	fi
	echo "make demo-stop takes all of it away."
}

remove_containers() {
	local id
	alive || return 0
	for id in $(rest GET '/containers/json?all=1' | tr '{' '\n' | field_all Id); do
		rest DELETE "/containers/$id?force=1&v=1" --output /dev/null || true
	done
}
field_all() { sed -n "s/^.*\"$1\":\"\([0-9a-f]\{64\}\)\".*/\1/p"; }

# stop_pid FILE: end the process whose id the file holds, and wait for it.
stop_pid() {
	local pid
	[ -s "$1" ] || return 0
	pid=$(cat "$1")
	kill "$pid" 2>/dev/null || return 0
	for _ in $(seq 200); do
		kill -0 "$pid" 2>/dev/null || return 0
		sleep 0.05
	done
	kill -KILL "$pid" 2>/dev/null || true
}

# remove_network: what an engine leaves for its containers when it stops.
remove_network() {
	local base table chain rule
	if [ -s "$run/netns" ]; then
		ip netns delete "$(cat "$run/netns")"
		return
	fi
	ip link delete "$link" 2>/dev/null || true
	base=DAVIT-$(printf %s "$link" | sha256sum | cut -c 1-8 | tr a-f A-F)
	for table in filter nat; do
		iptables -w -t "$table" -S 2>/dev/null | grep -E -- "-j $base(-[A-Z]+)?$" | sed 's/^-A/-D/' | while read -r rule; do
			# shellcheck disable=SC2086 # a rule is a list of words
			iptables -w -t "$table" $rule || true
		done
		for chain in $(iptables -w -t "$table" -S 2>/dev/null | sed -n "s/^-N \($base.*\)/\1/p"); do
			iptables -w -t "$table" -F "$chain" || true
		done
		for chain in $(iptables -w -t "$table" -S 2>/dev/null | sed -n "s/^-N \($base.*\)/\1/p"); do
			iptables -w -t "$table" -X "$chain" || true
		done
	done
	# The administrator's chain goes only when it is empty and nobody uses it.
	iptables -w -X DAVIT-USER 2>/dev/null || true
}

stop() {
	[ "$(id -u)" -eq 0 ] || die "needs root"
	[ -e "$run" ] || [ -e "$lib" ] || {
		echo "demo: nothing to stop"
		return
	}
	find_bus
	if [ -e "$run/davitd.log" ] && ! alive && [ -x "$here/bin/davitd" ]; then
		start_engine # it died: let a new one take its containers away
	fi
	remove_containers
	if booted; then
		systemctl stop davit-demo.socket davit-demo.service 2>/dev/null || true
	fi
	stop_pid "$run/engine.pid"
	stop_pid "$run/bus.pid"
	[ ! -e "$run" ] || remove_network
	if [ -e "$policy" ]; then
		rm -f "$policy"
		busctl --quiet call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig || true
	fi
	rm -rf --one-file-system "$run" "$lib"
	# What containers' cgroups were made in; where another engine has some, it stays.
	rmdir /sys/fs/cgroup/davit /sys/fs/cgroup/*/davit 2>/dev/null || true
	echo "demo: all gone"
}

case ${1:-} in
start) start ;;
stop) stop ;;
*)
	echo "usage: demo.sh start|stop" >&2
	exit 2
	;;
esac
