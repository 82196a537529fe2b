# engines.sh - for tests on a real engine: read after shell.sh.  One is started on loopback, with two
# workers, and tests/test_engines.c runs on it.
# One that is killed is to be missed soon.
export DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT=2s DASK_TEMPORARY_DIRECTORY="$work"
unset PARLOOP_PYTHON DASK_SCHEDULER_ADDRESS RAY_ADDRESS
started=
port=$((20000 + $$ % 10000))

begin() { # begin LOG COMMAND ...: in the background, in a process group of its own
	log=$work/$1
	shift
	setsid "$@" >"$log" 2>&1 </dev/null &
	started="$started $!"
}

is_over() { # is_over PROCESS ...: none of them is at work any more
	for one; do
		case $(ps -o stat= -p "$one") in
		'' | Z*) ;;
		*) return 1 ;;
		esac
	done
}

# What test_engines does to the cluster in the middle of a call: a third worker comes, by that command,
# and goes.
third() { # third COMMAND ...
	printf 'setsid %s >%s 2>&1 </dev/null &\necho $! >%s\n' "$*" "$work/third" "$work/third.pid" >"$work/grow"
	export TEST_ENGINE_GROW="sh $work/grow" TEST_ENGINE_SHRINK="kill -TERM \$(cat $work/third.pid)"
}

# The bridge as it is, with a note of what it asks the engine for.
spy() {
	cp tests/spy_bridge.py "$work/"
	ln -sfn "$PWD/$PLUGINS/engines" "$work/engines"
	export TEST_ENGINE_BRIDGE="$work/spy_bridge.py"
	: >"$work/spied"
}

# With the options of plugins.conf, or of the call; those inside of it as well.
has_options() { # has_options WORDS WORDS-OF-THE-CALL
	for one in twice upper add_shared; do
		grep -q "^submit $one .*$1" "$work/spied" || { echo "none: $one"; return 1; }
	done
	for one in nested_here which; do
		grep -q "^submit $one .*$2" "$work/spied" || { echo "none: $one"; return 1; }
	done
	! grep '^submit' "$work/spied" | grep -v "$1" | grep -v "$2"
}

spied() { # spied N WORDS: so many times
	[ "$(grep -c "$2" "$work/spied")" = "$1" ] || { echo "not $1 times: $2"; sort "$work/spied" | uniq -c; false; }
}

stop_engine() {
	started="$started $(cat "$work/third.pid" 2>/dev/null)"
	rm -f "$work/third.pid"
	for one in $started; do
		kill -TERM "$one" 2>/dev/null
	done
	within 10 is_over $started
	for one in $started; do
		kill -KILL -"$one" 2>/dev/null
		wait "$one" 2>/dev/null
	done
	started=
}
trap 'stop_engine; remove_hosts; rm -rf "$work"' EXIT
remove_hosts() { :; }

within() { # within SECONDS COMMAND ...: it succeeds sooner or later
	moments=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $((moments -= 1)) -gt 0 ] || return 1
		sleep 0.1
	done
}

# parloop check: all rules of a backend, and random steps; those of the file, test_check.sh sees.
keeps_rules() { # keeps_rules BACKEND -o OPTION ...
	ruled=$1
	shift
	rules=$("$O/parloop" check --list | sed -n 's/^\([CBT][0-9]*\) .*/--only \1/p')
	for what in "$rules" "--fuzz 1 10"; do
		timeout 200 "$O/parloop" check -b "$ruled" "$@" $what "$PLUGINS/engines.so" || return
	done
}

# Adds to the counts what test_engines says of itself.
run_on_engine() { # run_on_engine BACKEND CONF
	chmod 600 "$2"
	TEST_ENGINE=$1 TEST_ENGINE_CONF=$2 timeout 200 "$O/tests/test_engines" >"$work/said" 2>&1
	counted=$(sed -n 's/.*Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2 \3/p' \
		"$work/said" | tail -n 1)
	expect "test_engines ends on $3" test -n "$counted" || cat "$work/said"
	set -- ${counted:-0 0 0}
	checks=$((checks + $1))
	failures=$((failures + $2 + $3))
	[ "$2" = 0 ] && [ "$3" = 0 ] || cat "$work/said"
}
