# How many cores there are for us, as the command tells it: in real cgroups of both versions, on a
# cpu of our own, and with a limit in the environment.  test_cpu.c has what files of cgroups may say.
. tests/shell.sh

own=parloop-test-$$ # the cgroups of this test
mounted=/sys/fs/cgroup
enabled=            # what version 2 could not do before
unset PARLOOP_MAX_CPU_COUNT

clean_up() {
	for place in "$mounted" "$mounted/unified" "$mounted/cpu" "$mounted/cpuset"; do
		rmdir "$place/$own/inner" "$place/$own" 2>/dev/null
	done
	for controller in $enabled; do
		echo "-$controller" >"$v2/cgroup.subtree_control"
	done
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

cores() { # cores COMMAND ARG ... - what the command says that COMMAND runs: "4, physical: 2"
	"$@" "$O/parloop" backends | sed -n 's/^# cores: //p'
}

counts() { # counts PATTERN COMMAND ARG ...
	wanted=$1
	shift
	cores "$@" >"$work/cores"
	cat "$work/cores"
	grep -qx "$wanted" "$work/cores"
}

within() { # within CGROUP COMMAND ARG ...
	place=$1
	shift
	sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$place" "$@"
}

all=$(cores env)
n=${all%%,*}

# --- the environment, and affinity ----------------------------------------------------------------

expect "there is a core, and a physical one" counts "[1-9][0-9]*, physical: [1-9][0-9]*" env
expect "PARLOOP_MAX_CPU_COUNT lowers the count" counts "1, physical: 1" env PARLOOP_MAX_CPU_COUNT=1
expect "which is at least 1" counts "1, physical: 1" env PARLOOP_MAX_CPU_COUNT=0
expect "and does not raise it" counts "$all" env PARLOOP_MAX_CPU_COUNT=$((n + 1))
expect "and what is no whole number is ignored" counts "$all" env PARLOOP_MAX_CPU_COUNT=1.5
first=$(taskset -cp $$ 2>"$work/why" | sed 's/.*: *//; s/[-,].*//')
if [ -n "$first" ]; then
	expect "one cpu that we may use is one core" counts "1, physical: 1" taskset -c "$first"
else
	skip "one cpu that we may use is one core" "$(cat "$work/why")"
fi

# --- cgroups ----------------------------------------------------------------------------------------

# Cgroups of ours for this controller, one in another; nonzero if there can be none, and $why.
make_cgroups() { # make_cgroups FOLDER
	if ! mkdir "$1/$own" "$1/$own/inner" 2>"$work/why"; then
		why=$(head -n 1 "$work/why")
	elif ! within "$1/$own" cat /proc/self/cgroup >"$work/paths" 2>"$work/why"; then
		why="nobody may move there: $(cat "$work/why")"
	elif ! grep -q ":/$own\$" "$work/paths"; then
		why="what is mounted there is not the top of what /proc/self/cgroup names"
	else
		return 0
	fi
	return 1
}

# Their children have this controller, or are to have it.
enable() { # enable CONTROLLER
	if ! grep -qw "$1" "$v2/cgroup.controllers"; then
		why="the controller $1 is not one of version 2 here"
	elif grep -qw "$1" "$v2/cgroup.subtree_control"; then
		return 0
	elif ! echo "+$1" 2>"$work/why" >"$v2/cgroup.subtree_control"; then
		why="the controller $1 cannot be enabled: $(cat "$work/why")"
	else
		enabled="$enabled $1"
		return 0
	fi
	return 1
}

prepare_v2() {
	v2=$mounted
	[ -e "$v2/cgroup.controllers" ] || v2=$mounted/unified
	[ -e "$v2/cgroup.controllers" ] || {
		why="there are no cgroups of version 2 here"
		return 1
	}
	enable cpu && make_cgroups "$v2"
}

prepare_v1() {
	[ -e "$mounted/cpu/cpu.cfs_period_us" ] || [ -e "$mounted/cpu/cpu.shares" ] || {
		why="there are no cgroups of version 1 with the controller cpu here"
		return 1
	}
	make_cgroups "$mounted/cpu"
}

limit_v2() { # limit_v2 QUOTA|max - in microseconds of 100000
	echo "$1 100000" >"$v2/$own/cpu.max"
	within_limit=$v2/$own
}

limit_v1() {
	echo 100000 >"$mounted/cpu/$own/cpu.cfs_period_us"
	echo "$1" | sed 's/max/-1/' >"$mounted/cpu/$own/cpu.cfs_quota_us"
	within_limit=$mounted/cpu/$own
}

prepare_cpuset_v2() {
	enable cpuset || return
	place=$v2/$own
}

prepare_cpuset_v1() {
	place=$mounted/cpuset/$own
	[ -e "$mounted/cpuset/cpuset.cpus" ] || {
		why="there are no cgroups of version 1 with the controller cpuset here"
		return 1
	}
	mkdir "$place" "$place/inner" 2>"$work/why" &&
		cat "$mounted/cpuset/cpuset.mems" 2>"$work/why" >"$place/cpuset.mems" || {
		why=$(cat "$work/why")
		return 1
	}
}

quotas_hold() {
	check "half a core of a quota is one" "1, physical: .*" 50000
	check "a core and a half are two, if there are" "$((n < 2 ? n : 2)), physical: .*" 150000
	check "no quota is no limit" "$all" max
	check "nor is a quota of more than there is" "$all" $((n * 100000 + 1000))
	check "a quota holds for cgroups below" "1, physical: .*" 100000 /inner
}

check() { # check SENTENCE PATTERN QUOTA [BELOW]
	if [ -n "$why" ]; then
		skip "$version: $1" "$why"
	else
		"limit_$version" "$3"
		expect "$version: $1" counts "$2" within "$within_limit${4:-}"
	fi
}

for version in v2 v1; do
	why=
	"prepare_$version"
	quotas_hold
	[ -n "$why" ] || "limit_$version" max
	[ -n "$why" ] || "prepare_cpuset_$version"
	if [ -n "$why" ]; then
		skip "$version: a cpuset is a limit" "$why"
	elif ! echo "${first:-0}" 2>"$work/why" >"$place/cpuset.cpus"; then
		skip "$version: a cpuset is a limit" "$(cat "$work/why")"
	else
		expect "$version: a cpuset is a limit" counts "1, physical: .*" within "$place"
	fi
done
summary
