# The backend dask on Dask: Debian's, and the current one.
. tests/shell.sh
. tests/engines.sh

on() { # on NAME PYTHON tcp|tls
	name=$1 python=$2
	if [ -n "$SAN" ]; then
		skip "$name" "sanitizers see the plugin with a stand-in"
		return
	fi
	if ! "$python" -c 'import distributed' 2>/dev/null; then
		skip "$name" "$python has no distributed: $(tail -n 1 build/venv-dask.why 2>/dev/null)"
		return
	fi
	port=$((port + 1))
	address=$3://127.0.0.1:$port tls=
	if [ "$3" = tls ]; then
		expect "there are certificates" certify || return
		tls="--tls-ca-file $work/ca.pem --tls-cert $work/node.pem --tls-key $work/node-key.pem"
	fi
	begin scheduler "$python" -m distributed.cli.dask_scheduler --host 127.0.0.1 --port $port --protocol "$3" \
		--no-dashboard $tls --scheduler-file "$work/scheduler-$port.json"
	within 20 test -s "$work/scheduler-$port.json"
	worker="$python -m distributed.cli.dask_worker $address $tls --nthreads 1 --no-nanny --no-dashboard \
--local-directory $work --resources spot=4"
	workers=
	for each in one two; do
		begin $each $worker --name $each
		workers="$workers $!"
	done
	third $worker --name three
	expect "$name has two workers" within 30 grep -q 'Registered to' "$work/one" "$work/two"
	spy
	printf '[backend dask]\npath = %s/engines.so\npython = %s\nbridge = %s/spy_bridge.py\n' \
		"$PWD/$PLUGINS" "$python" "$work" >"$work/no-address.conf"
	[ "$3" = tcp ] || printf 'tls_%s\n' "ca_file = $work/sesame/ca.pem" "client_cert = $work/sesame/us.pem" \
		"client_key = $work/sesame/us-key.pem" >>"$work/no-address.conf"
	{
		cat "$work/no-address.conf"
		printf '%s\n' "address_file = $work/scheduler-$port.json" 'retries = 4' 'resources = spot=1'
	} >"$work/dask.conf"
	chmod 600 "$work"/*.conf
	expect "$name is found by the environment, and runs tasks on workers of our choice" chooses_workers
	: >"$work/spied"
	run_on_engine dask "$work/dask.conf" "$name"
	expect "batches are tasks of $name, with our options, those of calls inside as well" has_options \
		"resources={'spot': 1.0} retries=4$" "resources={'spot': 2.0} retries=5$"
	expect "$name is given what tasks share once a call" spied 3 '^share 2400000$'
	expect "$name is given each large input once a call" spied 2 '^share 1600000$'
	if [ "$3" = tcp ]; then
		expect "$name: the README's program runs there, and on threads and processes" page_runs "$python"
	else
		expect "$name trusts no others, and says so, but no secret" fails_with 'TLS\|SSL\|certificate' \
			-o wait_for_workers=1s -o "tls_client_cert=$work/other.pem" -o "tls_client_key=$work/other-key.pem"
	fi
	expect "$name says where it failed to connect without the address" fails_with \
		'cannot connect to the scheduler' -o address=tcp://127.0.0.1:1 -o wait_for_workers=1s
	# Twice the same would be seen.
	[ "$3" = tcp ] || expect "$name keeps all rules" keeps_rules dask -o "python=$python" -o "address=$address" \
		-o "tls_ca_file=$work/sesame/ca.pem" -o "tls_client_cert=$work/sesame/us.pem" \
		-o "tls_client_key=$work/sesame/us-key.pem"
	expect "$name without any worker is an error after the time given" ends_without_workers $workers
	stop_engine
}

# Whom the cluster trusts, it and us; the names of our files are secret.  And somebody else.
certify() {
	mkdir -p "$work/sesame" && make_key "$work/sesame/ca" -x509 -days 2 && make_key "$work/other" -x509 -days 2 || return
	for one in node sesame/us; do
		make_key "$work/$one" && mv "$work/$one.pem" "$work/$one.csr" &&
			openssl x509 -req -days 2 -in "$work/$one.csr" -CA "$work/sesame/ca.pem" \
				-CAkey "$work/sesame/ca-key.pem" -CAcreateserial -out "$work/$one.pem" || return
	done
	cp "$work/sesame/ca.pem" "$work/ca.pem"
}

make_key() { # make_key NAME OPTION ...
	made=$1
	shift
	openssl req "$@" -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$made-key.pem" \
		-out "$made.pem" -subj "/CN=${made##*/}"
}

upper() { # upper OPTION ...
	PARLOOP_LOG=debug timeout 30 "$O/parloop" map -b dask "$@" "$O/tasks/demo.so:upper" ::: a >"$work/out" 2>"$work/said"
}

chooses_workers() {
	PARLOOP_CONF=$work/no-address.conf DASK_SCHEDULER_ADDRESS=$address upper -o workers=two || { cat "$work/said"; return 1; }
	echo A | same - "$work/out" && spied 1 "^submit upper allow_other_workers=False .*workers=\['two'\]"
}

fails_with() { # fails_with WORDS OPTION ...
	words=$1
	shift
	! PARLOOP_CONF=$work/dask.conf upper "$@" && cat "$work/said" && grep -q "$words" "$work/said" &&
		! grep -q "127.0.0.1:$port\|127.0.0.1:1 \|sesame\|other" "$work/said"
}

# They die while they are at it.
ends_without_workers() { # ends_without_workers PROCESS ...
	: >"$work/spied"
	(PARLOOP_CONF=$work/dask.conf exec timeout 40 "$O/parloop" map -b dask --batch-size 1 -o wait_for_workers=1s \
		"$O/tasks/demo.so:stubborn" ::: stuck) >"$work/said" 2>&1 &
	call=$!
	within 10 grep -q 'submit stubborn' "$work/spied"
	for one; do
		kill -KILL -"$one"
	done
	wait $call
	ended=$?
	cat "$work/said"
	[ $ended = 1 ] && grep -q 'no worker for 1 s' "$work/said"
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

begin_host() { # begin_host N PYTHON
	PARLOOP_CACHE=$work/cache-$1 begin "host-$1" ip netns exec "$hosts-$1" unshare -m sh -c \
		"mount -t tmpfs none '$work/modules' && exec \"\$@\"" sh \
		"$2" -m distributed.cli.dask_worker "tcp://$net.1:$port" --host "$net.$1" --nthreads 1 \
		--no-nanny --no-dashboard --local-directory "$work"
}

runs_on_hosts() { # runs_on_hosts PYTHON
	cp "$O/tasks/demo.so" "$work/modules/"
	printf '[backend dask]\npath = %s/engines.so\naddress = tcp://%s.1:%s\npython = %s\nkeep = 0s\n' \
		"$PWD/$PLUGINS" "$net" "$port" "$1" >"$work/hosts.conf"
	chmod 600 "$work/hosts.conf"
	# One of them comes when the call is under way.
	{
		seq 1000
		begin_host 3 "$1"
		echo $! >"$work/third.pid"
		tries=300
		until ls "$work/cache-3"/*.so >&2 || [ $((tries -= 1)) = 0 ]; do
			echo late
			sleep 0.1
		done 2>/dev/null
		seq 1001 2000
	} | PARLOOP_CONF=$work/hosts.conf timeout 60 "$O/parloop" map -b dask "$work/modules/demo.so:echo" >"$work/echoed" &&
		grep -v late "$work/echoed" >"$work/numbers" && seq 2000 | same - "$work/numbers" &&
		ls "$work/cache-2"/*.so "$work/cache-3"/*.so
}

on_hosts() { # on_hosts PYTHON
	name="two network namespaces as two hosts, to which a module travels, also to the late one"
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
	begin_host 2 "$1"
	expect "$name" runs_on_hosts "$1"
	stop_engine
	remove_hosts
}

on_hosts /usr/bin/python3
on "Debian's Dask" /usr/bin/python3 tcp
on "the current Dask" "$PWD/build/venv-dask/bin/python" tls
summary
