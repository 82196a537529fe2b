# run.sh - ours on Dask and Ray beside what their users have, on the same two workers of this machine,
# in one run.  `make bench-engines`
. tests/shell.sh
. tests/engines.sh
export RAY_USAGE_STATS_ENABLED=0 DASK_LOGGING__DISTRIBUTED=error

figure() { # figure FILE NAME
	sed -n "s/^$2 //p" "$work/$1"
}

row() { # row WORDS TASKS/S OF-OURS GOAL
	awk -v words="$1" -v rate="$2" -v ours="${3:-0}" -v goal="${4:-0}" 'BEGIN {
		printf "%-44s %12.0f tasks/s", words, rate
		if (ours > 0)
			printf "   ours is %.0f x (goal %g x: %s)", ours / rate, goal, (ours >= goal * rate) ? "reached" : "missed"
		printf "\n"
	}'
}

measure() { # measure ENGINE NAME PYTHON ADDRESS
	printf '[backend %s]\npath = %s/engines.so\naddress = %s\npython = %s\n' \
		"$1" "$PWD/$PLUGINS" "$4" "$3" >"$work/bench.conf"
	PARLOOP_CONF=$work/bench.conf timeout 200 "$O/bench-engines" "$1" >"$work/ours" || return
	timeout 200 "$3" tests/bench/engines/peers.py "$1" "$4" >"$work/peers" 2>"$work/peers.log" ||
		tail -n 1 "$work/peers.log"
	ours=$(figure ours no-op)
	row "$2, parloop, no-op" "$ours"
}

two_cores() { # of 100 us of processor time each
	# What others leave of this machine, as worker processes of its own find it.
	timeout 200 "$O/bench-engines" loky >"$work/loky"
	awk -v name="$1" -v rate="$(figure ours 100us)" -v loky="$(figure loky 100us)" 'BEGIN {
		printf "%s, parloop, 100 us: %.2f of two cores (goal 0.9; loky has %.2f)\n", name,
			rate * 100e-6 / 2, loky * 100e-6 / 2
	}'
}

dask() { # dask NAME PYTHON
	"$2" -c 'import distributed' 2>/dev/null || { echo "SKIP $1: not installed"; return; }
	port=$((port + 1))
	begin scheduler "$2" -m distributed.cli.dask_scheduler --host 127.0.0.1 --port $port --no-dashboard
	for worker in one two; do
		begin $worker "$2" -m distributed.cli.dask_worker tcp://127.0.0.1:$port --nthreads 1 \
			--no-dashboard --local-directory "$work"
	done
	within 30 grep -q 'Registered to' "$work/two"
	measure dask "$1" "$2" "tcp://127.0.0.1:$port" && {
		row "$1, client.map, no-op" "$(figure peers client.map)" "$ours" 300
		[ -z "$(figure peers joblib)" ] || row "$1, joblib, no-op" "$(figure peers joblib)" "$ours" 5
		two_cores "$1"
	}
	stop_engine
}

ray() { # ray NAME PYTHON
	"$2" -c 'import ray' 2>/dev/null || { echo "SKIP $1: not installed"; return; }
	begin ray.log "${2%/*}/ray" start --head --block --num-cpus 2 --include-dashboard=false \
		--node-ip-address 127.0.0.1 --port $port --temp-dir "$work/ray" --disable-usage-stats
	within 40 grep -q "Ray runtime started" "$work/ray.log"
	measure ray "$1" "$2" "127.0.0.1:$port" && {
		row "$1, ray tasks, no-op" "$(figure peers tasks)" "$ours" 50
		row "$1, ray.util.joblib, no-op" "$(figure peers ray.util.joblib)" "$ours" 20
		two_cores "$1"
	}
	stop_engine
}

dask "Dask of Debian" /usr/bin/python3
dask "Dask, current" "$PWD/build/venv-dask/bin/python"
ray "Ray, current" "$PWD/build/venv-ray/bin/python"
