# The backend mpi on a Slurm of one machine: two nodes, which are two daemons here, started by hand in
# a folder that goes with them, and known to nobody else.
. tests/shell.sh

PATH=$PATH:/usr/sbin:/sbin
port=$((10000 + $$ % 7000 * 3))
conf=$work/slurm.conf
daemons=
all="ranks are started by srun"

take_down() {
	[ -z "$daemons" ] || { kill $daemons; wait $daemons; } 2>/dev/null
	rm -rf "$work"
}

# These know of our Slurm, and nothing else does, so that they are found by it.
slurm() {
	SLURM_CONF=$conf TMPDIR=$work timeout 60 "$@"
}

keep() { # keep NAME COMMAND ...: it runs until the end
	name=$1
	shift
	"$@" >"$work/$name.out" 2>&1 </dev/null &
	daemons="$daemons $!"
}

write_conf() {
	host=$(hostname -s)
	user=$(id -un)
	cat >"$conf" <<-END
		ClusterName=parloop
		SlurmctldHost=$host(127.0.0.1)
		SlurmctldPort=$port
		SlurmUser=$user
		SlurmdUser=$user
		AuthType=auth/munge
		AuthInfo=socket=$work/munge.socket
		CredType=cred/munge
		StateSaveLocation=$work/state
		SlurmdSpoolDir=$work/spool.%n
		TmpFS=$work/tmp.%n
		SlurmctldPidFile=$work/slurmctld.pid
		SlurmdPidFile=$work/slurmd.%n.pid
		MailProg=/bin/true
		ProctrackType=proctrack/linuxproc
		TaskPlugin=task/none
		JobAcctGatherType=jobacct_gather/none
		AccountingStorageType=accounting_storage/none
		SelectType=select/cons_tres
		SelectTypeParameters=CR_Core
		SlurmdParameters=config_overrides
		SchedulerParameters=batch_sched_delay=0
		KillWait=2
		NodeName=par1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=4 RealMemory=100
		NodeName=par2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=4 RealMemory=100
		PartitionName=all Nodes=ALL Default=YES State=UP
	END
}

# Answers as soon as both nodes are there.
is_up() {
	slurm timeout 15 srun --immediate=5 -Q -N 2 -n 2 true
}

bring_up() {
	mkdir -p "$work/state" "$work/tmp.par1" "$work/tmp.par2"
	head -c 1024 /dev/urandom >"$work/munge.key" && chmod 400 "$work/munge.key" || return
	write_conf
	keep munged munged --foreground --force --key-file="$work/munge.key" --socket="$work/munge.socket" \
		--pid-file="$work/munged.pid" --log-file="$work/munged.log" --seed-file="$work/munge.seed"
	n=50
	until [ -S "$work/munge.socket" ]; do
		[ $((n -= 1)) -gt 0 ] && sleep 0.1 || return
	done
	keep slurmctld slurmctld -D -i -f "$conf"
	keep slurmd.par1 slurmd -D -N par1 -f "$conf"
	keep slurmd.par2 slurmd -D -N par2 -f "$conf"
	n=10
	until is_up; do
		[ $((n -= 1)) -gt 0 ] && sleep 0.5 || return
	done
}

why_not() {
	grep -h -i -E 'error|fatal' "$work"/*.out "$work/log" | tail -n 1
}

for program in munged slurmctld slurmd srun salloc; do
	command -v "$program" >/dev/null || {
		skip "$all" "$program is not installed (Debian's slurmctld, slurmd, slurm-client, munge)"
		summary
	}
done
ls "$O"/parloop-mpi-relay.* >/dev/null 2>&1 || {
	skip "$all" "no relay was built"
	summary
}
trap take_down EXIT
bring_up >"$work/log" 2>&1 || {
	skip "$all" "Slurm does not run here: $(why_not)"
	summary
}

by() { # by MPI "OPTIONS of srun" ARGUMENT ...: parloop map
	launcher="srun $2 -n {n}"
	mpi=$1
	shift 2
	slurm "$O/parloop" map -b mpi -o "mpi=$mpi" -o "launcher=$launcher" -o idle_timeout=0s \
		-o start_timeout=30s -o output=capture "$@" 2>"$work/errors"
}

upper() { # upper MPI OPTIONS
	by "$1" "$2" -j 2 "$O/tasks/demo.so:upper" ::: one two three >"$work/out" || cat "$work/errors"
	printf 'ONE\nTWO\nTHREE\n' | same - "$work/out"
}

# Each rank is a job of its own then.
is_told() {
	by "$1" --mpi=none -j 2 "$O/tasks/demo.so:upper" ::: one >"$work/out" && return 1
	grep 'told --mpi=pmix for Open MPI, --mpi=pmi2 for MPICH' "$work/errors"
}

kills() {
	by "$1" "$2" -j 2 --task-timeout 0.5 "$O/tasks/demo.so:stubborn" ::: one stuck two >"$work/out"
	printf 'one\ntwo\n' | same - "$work/out" && grep 'ran for more than 0.5 s' "$work/errors"
}

# Four tasks are allocated: as many workers, and one rank more.
of_five() {
	grep -x 5 "$work/out" || { cat "$work/out" && false; }
}

in_salloc() {
	cat >"$work/job" <<-END
		#!/bin/sh
		"$O/parloop" map -b mpi -j -1 -o mpi=$1 -o "launcher=srun $2 --overcommit -n {n}" \\
			-o idle_timeout=0s "$O/tasks/processes.so:variable" ::: SLURM_STEP_NUM_TASKS
	END
	slurm salloc -Q -n 4 sh "$work/job" >"$work/out" 2>&1
	of_five
}

in_sbatch() {
	rm -f "$work/done"
	echo ": >$work/done" >>"$work/job"
	slurm sbatch -n 4 -o "$work/out" "$work/job"
	n=300
	until [ -e "$work/done" ]; do
		[ $((n -= 1)) -gt 0 ] && sleep 0.1 || return
	done
	of_five
}

# What knows of our Slurm, but for its daemons and this.
others() {
	for pid in $(grep -lzx "SLURM_CONF=$conf" /proc/[0-9]*/environ 2>/dev/null); do
		pid=${pid#/proc/}
		echo "${pid%/environ}"
	done
}

nobody_is_left() {
	n=80
	while [ -n "$(slurm squeue -h)$(others)" ] && [ $((n -= 1)) -gt 0 ]; do
		sleep 0.1
	done
	others | xargs -r ps -o pid=,args= -p
	[ "$n" -gt 0 ]
}

last=
for each in openmpi:--mpi=pmix mpich:--mpi=pmi2; do
	mpi=${each%:*} option=${each#*:}
	if [ ! -x "$O/parloop-mpi-relay.$mpi" ]; then
		skip "$all, of $mpi" "$O/parloop-mpi-relay.$mpi was not built"
		continue
	fi
	last=$mpi
	expect "srun $option starts ranks of $mpi, on two nodes" upper "$mpi" "$option -N 2"
	expect "and kills one whose task is over its time" kills "$mpi" "$option"
	expect "in an allocation there are as many workers as tasks" in_salloc "$mpi" "$option"
done
if [ -n "$last" ]; then
	expect "as in a job script" in_sbatch
	expect "who has not told srun of the MPI is told to" is_told "$last"
	expect "and nothing is left of it" nobody_is_left
fi
summary
