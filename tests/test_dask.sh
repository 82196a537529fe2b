# The backend dask on Dask: Debian's, and the current one.
. tests/shell.sh
. tests/engines.sh

has_workers() { # has_workers PYTHON N
	"$1" -c "import distributed, sys
with distributed.Client('tcp://127.0.0.1:$port', timeout=5) as client:
    sys.exit(len(client.nthreads()) < $2)"
}

on() { # on NAME PYTHON
	if [ -n "$SAN" ]; then
		skip "$1" "sanitizers see the plugin with a stand-in"
		return
	fi
	if ! "$2" -c 'import distributed' 2>/dev/null; then
		skip "$1" "$2 has no distributed: $(tail -n 1 build/venv-dask.why 2>/dev/null)"
		return
	fi
	port=$((port + 1))
	begin scheduler "$2" -m distributed.cli.dask_scheduler --host 127.0.0.1 --port $port --no-dashboard \
		--scheduler-file "$work/scheduler-$port.json"
	within 20 test -s "$work/scheduler-$port.json"
	for worker in one two; do
		begin "$worker" "$2" -m distributed.cli.dask_worker tcp://127.0.0.1:$port --nthreads 1 --no-nanny \
			--no-dashboard --local-directory "$work" --name "$worker"
	done
	expect "$1 has two workers" within 30 has_workers "$2" 2
	cat >"$work/dask.conf" <<END
[backend dask]
path = $PWD/$PLUGINS/engines.so
address_file = $work/scheduler-$port.json
python = $2
END
	run_on_engine dask "$work/dask.conf" "$1"
	expect "$1: the README's program runs there, and on threads and processes" page_runs "$2"
	expect "$1 says where it failed to connect without the address" said_without_address "$2"
	# Twice the same would be seen.
	[ "$2" = /usr/bin/python3 ] || expect "$1: dask keeps all rules" keeps_rules dask "$2" "tcp://127.0.0.1:$port"
	stop_engine
}

said_without_address() {
	! PARLOOP_CONF=$work/dask.conf timeout 30 "$O/parloop" map -b dask -o address=tcp://127.0.0.1:1 \
		-o "python=$1" -o wait_for_workers=1s "$O/tasks/demo.so:upper" ::: a >"$work/said" 2>&1 &&
		cat "$work/said" && grep -q 'cannot connect to the scheduler' "$work/said" &&
		! grep -q '127.0.0.1:1' "$work/said"
}

# The README's three ways to run one program, with the address of the scheduler here.
page_runs() { # page_runs PYTHON
	awk '/^```/ && inside { inside = 0 } /^```(c|ini)$/ { inside = 1; first = 1; next } !inside { next }
	first { first = 0; file = $2 == "roots.c" ? "roots.c" : $1 == "#" && ($2 == "on" || $2 == "in") ? $NF ".conf" : "" }
	file != "" { print > (dir "/" file) }' dir="$work" README.md
	$CC -Iinclude "$work/roots.c" -L"$O" -lparloop "-Wl,-rpath,$PWD/$O" -lm -o "$work/roots" || return
	chmod 600 "$work"/*.conf
	for conf in laptop crash cluster; do
		sed -i "s|tcp://scheduler:8786|tcp://127.0.0.1:$port|" "$work/$conf.conf"
		PARLOOP_PYTHON=$1 PARLOOP_CONF=$work/$conf.conf timeout 60 "$work/roots" >"$work/roots.out" || return
		echo "0 1 2 3 4 5 6 7 8 9" | same - "$work/roots.out" || return
	done
}

# Two hosts: network namespaces on one bridge, each worker in one of them, with a folder of modules and
# a cache of its own; the scheduler and the program are outside.
hosts=pl$$
net=10.$((64 + $$ % 128)).$(($$ / 128 % 256))
has_hosts() {
	ip link add "$hosts" type bridge && ip addr add "$net.1/24" dev "$hosts" &&
		ip link set "$hosts" up && add_host 2 && add_host 3
}

add_host() { # add_host N
	ip netns add "$hosts-$1" && ip link add "$hosts.$1" type veth peer name eth0 netns "$hosts-$1" &&
		ip link set "$hosts.$1" master "$hosts" up &&
		ip -n "$hosts-$1" addr add "$net.$1/24" dev eth0 && ip -n "$hosts-$1" link set eth0 up &&
		ip -n "$hosts-$1" link set lo up
}

remove_hosts() {
	ip netns del "$hosts-2"
	ip netns del "$hosts-3"
	ip link del "$hosts"
} >/dev/null 2>&1

runs_on_hosts() { # runs_on_hosts PYTHON
	cp "$O/tasks/demo.so" "$work/modules/"
	printf '[backend dask]\npath = %s/engines.so\naddress = tcp://%s.1:%s\npython = %s\nkeep = 0s\n' \
		"$PWD/$PLUGINS" "$net" "$port" "$1" >"$work/hosts.conf"
	chmod 600 "$work/hosts.conf"
	seq 3000 | PARLOOP_CONF=$work/hosts.conf timeout 60 "$O/parloop" map -b dask \
		"$work/modules/demo.so:echo" >"$work/echoed" && seq 3000 | same - "$work/echoed" &&
		ls "$work/cache-2"/*.so "$work/cache-3"/*.so
}

on_hosts() { # on_hosts PYTHON
	name="two network namespaces as two hosts, to which a module travels"
	if [ -n "$SAN" ] || ! "$1" -c 'import distributed' 2>/dev/null; then
		skip "$name" "no Dask here, or sanitizers"
		return
	fi
	if ! command -v ip >/dev/null || ! has_hosts >"$work/said" 2>&1; then
		skip "$name" "this machine does not allow it: $(tail -n 1 "$work/said")"
		remove_hosts
		return
	fi
	port=$((port + 1))
	mkdir "$work/modules"
	begin scheduler "$1" -m distributed.cli.dask_scheduler --host "$net.1" --port $port --no-dashboard
	for host in 2 3; do
		PARLOOP_CACHE=$work/cache-$host begin "host-$host" ip netns exec "$hosts-$host" unshare -m sh -c \
			"mount -t tmpfs none '$work/modules' && exec \"\$@\"" sh \
			"$1" -m distributed.cli.dask_worker "tcp://$net.1:$port" --host "$net.$host" --nthreads 1 \
			--no-nanny --no-dashboard --local-directory "$work"
	done
	expect "both hosts are there" within 30 grep -q 'Registered to' "$work/host-2" "$work/host-3"
	expect "$name" runs_on_hosts "$1"
	stop_engine
	remove_hosts
}

on_hosts /usr/bin/python3
on "Debian's Dask" /usr/bin/python3
on "the current Dask" "$PWD/build/venv-dask/bin/python"
summary
