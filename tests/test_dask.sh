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

on "Debian's Dask" /usr/bin/python3
on "the current Dask" "$PWD/build/venv-dask/bin/python"
summary
