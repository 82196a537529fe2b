# The backend ray on the current Ray.
. tests/shell.sh
. tests/engines.sh
python=$PWD/build/venv-ray/bin/python
export RAY_USAGE_STATS_ENABLED=0 RAY_DISABLE_IMPORT_WARNING=1

if [ -n "$SAN" ]; then
	skip "the current Ray" "sanitizers see the plugin with a stand-in"
elif ! "$python" -c 'import ray' 2>/dev/null; then
	skip "the current Ray" "there is none: $(tail -n 1 build/venv-ray.why 2>/dev/null)"
else
	begin ray.log "${python%/*}/ray" start --head --block --num-cpus 2 --include-dashboard=false \
		--node-ip-address 127.0.0.1 --port $port --temp-dir "$work/ray" --disable-usage-stats \
		--object-store-memory 200000000
	expect "Ray is there" within 40 grep -q "Ray runtime started" "$work/ray.log"
	cat >"$work/ray.conf" <<END
[backend ray]
path = $PWD/$PLUGINS/engines.so
address = 127.0.0.1:$port
python = $python
END
	run_on_engine ray "$work/ray.conf" "the current Ray"
	# What Ray itself says when it ends, with the process that has loaded it.
	printf '#!/bin/sh\nexec %s "$@" 2>>%s/ray.said\n' "$python" "$work" >"$work/python"
	chmod 755 "$work/python"
	if keeps_rules ray "$work/python" "127.0.0.1:$port" >"$work/kept"; then
		expect "ray keeps all rules" cat "$work/kept"
	elif grep -q 'discovered a bug in Ray' "$work/ray.said"; then
		skip "ray keeps all rules" "Ray aborted: $(grep -o 'Check failed: .*' "$work/ray.said" | head -n 1)"
	else
		expect "ray keeps all rules" eval 'cat "$work/kept"; false'
	fi
	stop_engine
fi
summary
