# The backend mpi on two hosts, which are network namespaces here: the other one has a name, process
# ids and files of its own, and is reached by TCP alone.
. tests/shell.sh

net=par$$
relay=$O/parloop-mpi-relay.openmpi
agent=$work/agent
hidden=$work/hidden

take_down() {
	ip netns del "$net" 2>/dev/null
	ip link del "${net}a" 2>/dev/null
	# What Open MPI has there, in the folder that both share, stays if it is killed.
	rm -rf "/tmp/ompi.$net".*
}

two_hosts() {
	ip netns add "$net" && ip link add "${net}a" type veth peer name "${net}b" &&
		ip link set "${net}b" netns "$net" &&
		ip addr add 10.213.77.1/24 dev "${net}a" && ip link set "${net}a" up &&
		ip netns exec "$net" ip addr add 10.213.77.2/24 dev "${net}b" &&
		ip netns exec "$net" ip link set "${net}b" up &&
		ip netns exec "$net" ip link set lo up &&
		ip netns exec "$net" unshare --uts --pid --mount --fork --mount-proc hostname "$net"
}

all="tasks run on two hosts, by Open MPI"
if [ ! -x "$relay" ]; then
	skip "$all" "$relay was not built"
	summary
fi
trap 'take_down; rm -rf "$work"' EXIT
if ! two_hosts >"$work/log" 2>&1; then
	skip "$all" "this machine has no network namespaces for us: $(tail -n 1 "$work/log")"
	summary
fi

# What Open MPI uses in place of ssh: HOST and a command.
cat >"$agent" <<END
#!/bin/sh
while [ "\${1#-}" != "\$1" ]; do shift; done
shift
exec ip netns exec $net unshare --uts --pid --mount --fork --kill-child --mount-proc \\
	sh -c "hostname $net; mount -t tmpfs none $hidden; \$*"
END
chmod +x "$agent"
mkdir "$hidden" && mkdir -m 700 "$work/cache"
cp "$O/tasks/processes.so" "$hidden/only_here.so"

# One worker here, or none, and others there.
on() { # on HOSTS ARGUMENT ...: parloop map
	hosts=$1
	shift
	with "hosts=$hosts" "$@"
}
with() { # with OPTION ARGUMENT ...
	option=$1
	shift
	PARLOOP_CACHE=$work/cache timeout 60 "$O/parloop" map -b mpi -o mpi=openmpi -o "$option" \
		-o idle_timeout=0s -o output=capture \
		-o "env=OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm_rsh_agent=$agent OMPI_MCA_orte_tmpdir_base=$work PARLOOP_CACHE=$work/cache" \
		"$@" 2>"$work/errors"
}
there=10.213.77.2

upper() {
	on "$1" -j 2 "$O/tasks/demo.so:upper" ::: one two three >"$work/out" || cat "$work/errors"
	printf 'ONE\nTWO\nTHREE\n' | same - "$work/out"
}

# A launcher of the user's may know of others, of which no option says anything.
named() {
	with "launcher=mpirun.openmpi --oversubscribe --bind-to none --host $there:3 -n {n}" -j 2 \
		"$O/tasks/demo.so:upper" ::: one >"$work/out" || cat "$work/errors"
	echo ONE | same - "$work/out"
}

# The task has no file there, and is in no cache yet.
ships() {
	on "localhost:1,$there:2" -j 2 "$hidden/only_here.so:variable" ::: CARD >"$work/out" ||
		cat "$work/errors"
	echo '(unset)' | same - "$work/out" && ls "$work/cache" | grep -q '\.so$'
}


kills() {
	on "localhost:1,$there:2" -j 2 --task-timeout 0.5 "$O/tasks/demo.so:stubborn" ::: one stuck two \
		>"$work/out"
	[ $? -eq 1 ] && printf 'one\ntwo\n' | same - "$work/out" && grep 'ran for more than 0.5 s' "$work/errors"
}

nobody_is_there() {
	n=50
	while [ -n "$(ip netns pids "$net")" ] && [ $((n -= 1)) -gt 0 ]; do
		sleep 0.1
	done
	[ "$n" -gt 0 ]
}

expect "all ranks may be on another host" upper "$there:3"
expect "or some" upper "localhost:1,$there:2"
expect "or where the launcher's command says" named
expect "a task module travels there" ships
expect "a task that is over its time is killed there" kills
expect "and nothing is left there" nobody_is_there
summary
