# The backend ray on the current Ray.
. tests/shell.sh
. tests/engines.sh
python=$PWD/build/venv-ray/bin/python
export RAY_USAGE_STATS_ENABLED=0 RAY_DISABLE_IMPORT_WARNING=1

says() { # says WORDS OPTION ...: why it cannot run
	words=$1
	shift
	! PARLOOP_CONF=$work/no-address.conf timeout 60 "$O/parloop" map -b ray "$@" "$O/tasks/demo.so:upper" ::: a \
		>"$work/said" 2>&1 && cat "$work/said" && grep -q "$words" "$work/said"
}

if [ -n "$SAN" ]; then
	skip "the current Ray" "sanitizers see the plugin with a stand-in"
elif ! "$python" -c 'import ray' 2>/dev/null; then
	skip "the current Ray" "there is none: $(tail -n 1 build/venv-ray.why 2>/dev/null)"
else
	node="${python%/*}/ray start --block --node-ip-address 127.0.0.1 --disable-usage-stats"
	begin ray.log $node --head --num-cpus 2 --include-dashboard=false --port $port --temp-dir "$work/ray" \
		--object-store-memory 200000000 --resources '{"spot": 20}'
	third $node --address 127.0.0.1:$port --num-cpus 1 --object-store-memory 100000000 --resources "'{\"spot\": 10}'"
	expect "Ray is there" within 40 grep -q "Ray runtime started" "$work/ray.log"
	spy
	printf '[backend ray]\npath = %s/engines.so\npython = %s\nbridge = %s/spy_bridge.py\n' \
		"$PWD/$PLUGINS" "$python" "$work" >"$work/no-address.conf"
	{
		cat "$work/no-address.conf"
		printf '%s\n' "address = 127.0.0.1:$port" 'retries = 4' 'resources = spot=1'
	} >"$work/ray.conf"
	chmod 600 "$work"/*.conf
	run_on_engine ray "$work/ray.conf" "the current Ray"
	expect "batches are tasks of Ray's, with our options, those of calls inside as well" has_options \
		"max_retries=4 num_cpus=1.0 resources={'spot': 1.0}$" "max_retries=5 num_cpus=1.0 resources={'spot': 2.0}$"
	expect "Ray is given what tasks share once a call" spied 3 '^share 2400000$'
	expect "Ray is given each large input once a call" spied 2 '^share 1600000$'
	# What Ray itself says when it ends, with the process that has loaded it.
	printf '#!/bin/sh\nexec %s "$@" 2>>%s/ray.said\n' "$python" "$work" >"$work/python"
	chmod 755 "$work/python"
	if keeps_rules ray -o "python=$work/python" -o "address=127.0.0.1:$port" >"$work/kept"; then
		expect "ray keeps all rules" cat "$work/kept"
	elif grep -q 'discovered a bug in Ray' "$work/ray.said"; then
		skip "ray keeps all rules" "Ray aborted: $(grep -o 'Check failed: .*' "$work/ray.said" | head -n 1)"
	else
		expect "ray keeps all rules" eval 'cat "$work/kept"; false'
	fi
	export RAY_ADDRESS=127.0.0.1:$port
	expect "Ray is found by the environment, and nobody there is an error after the time given" says \
		'no worker for 1 s' -o num_cpus=100 -o wait_for_workers=1s
	expect "Ray says that it cannot connect" says 'cannot connect to Ray' -o address=127.0.0.1:1
	stop_engine
fi
summary
