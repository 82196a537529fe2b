# A random worker process is killed every few milliseconds, and some tasks kill theirs: nothing is
# lost, twice there, wrong or left, and no innocent task is condemned.
#
#   TASKS    of each storm (a million; fewer where a sanitizer makes them slow)
#   KILL_MS  between two kills (5)
. tests/shell.sh

case $SAN in
'') : "${TASKS:=1000000}" ;;
*) : "${TASKS:=50000}" ;;
esac
: "${KILL_MS:=5}"

# ThreadSanitizer makes a file when a program starts, and whoever is killed then leaves it; and it
# takes longer to start than there is between two kills.
case $SAN in
*thread*)
	mkdir "$work/tmp" && export TMPDIR="$work/tmp"
	KILL_MS=100
	;;
esac

has() { # has BACKEND
	"$O"/parloop show "$1" >"$work/shown" 2>&1
}

storm() { # storm BACKEND ARG ...: with and without poison, as an array and as a stream
	backend=$1
	shift
	if ! has "$backend"; then
		skip "a storm over $backend" "there is no such backend here: $(head -n 1 "$work/shown")"
		return
	fi
	set -- "$O"/tests/storm --backend "$backend" --kill-ms "$KILL_MS" --seed "$(date +%s)" "$@"
	expect "$backend $* loses nothing" "$@" --tasks "$TASKS"
	grep tasks "$work/.out"
	expect "$backend $* finds the poison" "$@" --tasks "$TASKS" --poison 24
	grep tasks "$work/.out"
	expect "$backend $* loses nothing of a stream" "$@" --tasks $((TASKS / 4)) --poison 6 --stream
	grep tasks "$work/.out"
}

storm loky --option idle_worker_timeout=100ms
storm multiprocessing --option start_method=fork
storm multiprocessing --option start_method=forkserver
storm multiprocessing --option start_method=spawn
summary
