# .ci/deps: looks before it installs, and says what to type where it may not.
# It is shown machines made up of small commands in a folder.
. tests/shell.sh

tool() { # tool NAME LINE ...: a command of the made-up machine
	name=$1
	shift
	printf '%s\n' '#!/bin/sh' "$@" >"$work/bin/$name"
	chmod +x "$work/bin/$name"
}

machine() { # machine USER-ID LACKS: one where everything else is installed
	rm -rf "$work/bin" && mkdir "$work/bin"
	for there in sort tr mktemp rm cat env sh tail; do
		ln -s "$(command -v $there)" "$work/bin/$there"
	done
	for there in cc g++ clang++ abidiff strace readelf mandoc openssl valgrind python3 \
		mpicc.openmpi mpirun.openmpi mpicc.mpich mpiexec.hydra srun; do
		tool "$there" true
	done
	tool id "echo $1"
	tool pkg-config "[ \"\$2\" != $2 ]"
	tool apt-get "echo apt-get \"\$@\" >>$work/asked"
	: >"$work/asked"
}

deps() { # deps STATUS SET ...: its words are in $work/said
	want=$1
	shift
	PATH="$work/bin" CC=cc .ci/deps "$@" >"$work/said" 2>&1 </dev/null
	got=$?
	cat "$work/said" "$work/asked"
	[ "$got" -eq "$want" ]
}

said() {
	grep -F -- "$1" "$work/said"
}

asked() { # asked LINE ...: what apt-get was asked, in order
	if [ $# -gt 0 ]; then printf '%s\n' "$@"; fi | same - "$work/asked"
}

install='apt-get -q -y install --no-install-recommends'

machine 0 nothing
expect "where nothing is missing it succeeds" deps 0 build test valgrind bench
expect "without a word" test ! -s "$work/said"
expect "and without asking apt-get" asked

machine 0 nothing
mkdir "$work/runtime"
tool clang "echo $work/runtime"
expect "clang's fuzzer is looked for" deps 0 fuzz
expect "and installed where clang has none" asked "$install libclang-rt-dev"
: >"$work/runtime/libclang_rt.fuzzer.a" >"$work/asked"
expect "but not where it has" deps 0 fuzz
expect "of course" asked
rm -r "$work/runtime"

machine 0 libuv
expect "root installs what is missing" deps 0 build
expect "and nothing else" asked "$install libuv1-dev"

machine 0 check
tool apt-get "echo apt-get \"\$@\" >>$work/asked" \
	"case \$* in *update*) : >$work/listed ;; *) [ -e $work/listed ] ;; esac"
expect "lists of packages are fetched if those here do not do" deps 0 test
expect "once" asked "$install check" 'apt-get -q -y update' "$install check"

machine 0 check
tool apt-get 'echo "E: no network"; exit 100'
expect "a failure of apt-get is one of ours" deps 1 test
expect "and its words are shown" said 'E: no network'

machine 1000 inih
tool sudo 'case $* in "-n true") ;; *) echo as root: >>'"$work/asked"'; "$@" ;; esac'
expect "others install with sudo" deps 0 build
expect "as root" asked 'as root:' "$install libinih-dev"

machine 1000 zlib
expect "without sudo it stops" deps 1 build
expect "and names the command to type" \
	said "su -c 'apt-get update && apt-get install -y zlib1g-dev'"
expect "having installed nothing" asked

machine 1000 libuv
tool sudo 'exit 1'
expect "where sudo would ask and nobody can answer it stops" deps 1 build
expect "and names the command with sudo" \
	said "sudo sh -c 'apt-get update && apt-get install -y libuv1-dev'"

machine 1000 check
tool sudo 'case $* in -n*) exit 1 ;; esac; echo "$@"' 'exit 1'
at_terminal() { # what sudo asks, it asks there
	PATH="$work/bin" SHELL="$(command -v sh)" "$script" -qec '.ci/deps test' /dev/null \
		>"$work/said" </dev/null
	got=$?
	cat "$work/said"
	[ "$got" -eq 1 ]
}
script=$(command -v script)
expect "at a terminal sudo asks, and where it says no deps stops" at_terminal
expect "what for is said before" said 'To install check, sudo asks for the password of'
expect "and the command to type does without sudo" \
	said "su -c 'apt-get update && apt-get install -y check'"

machine 0 inih
expect "who only looks is root and stops" deps 1 --look build
expect "with the command to type" said '    apt-get update && apt-get install -y libinih-dev'
expect "and nothing is installed" asked
expect "what else is missing does not stop it" deps 0 --look valgrind

machine 1000 zlib
tool sudo "echo sudo >>$work/asked"
expect "nor is sudo used to look" deps 1 --look build
expect "though it is in the command to type" \
	said "sudo sh -c 'apt-get update && apt-get install -y zlib1g-dev'"
expect "which is not typed" asked

machine 0 nothing
rm "$work/bin/mpicc.mpich"
expect "what can be done without is installed too" deps 0 test
expect "by itself" asked "$install libmpich-dev"
tool apt-get 'echo "E: no such package"; exit 100'
expect "where it cannot be had nothing stops" deps 0 test
expect "but it is said" said 'what needs it is skipped: libmpich-dev'
machine 1000 nothing
rm "$work/bin/mpicc.mpich"
expect "nor where nobody may install it" deps 0 test
expect "and that is said" said 'deps: not installed, and what needs it is skipped: libmpich-dev'

machine 0 nothing
rm "$work/bin/srun" "$work/bin/clang++"
tool apt-get "echo apt-get \"\$@\" >>$work/asked" 'case $* in *slurmctld*) exit 1;; esac'
expect "what cannot be had is no failure" deps 0 test
expect "it is named, and what can is not" grep -qx 'deps: apt-get could not install, and what needs it is skipped: slurmctld' "$work/said"
expect "and keeps the others away from nobody" grep -qxF "$install clang" "$work/asked"

machine 0 libuv
rm "$work/bin/apt-get" "$work/bin/pkg-config"
expect "without apt-get it stops" deps 1 build
expect "and names what is missing" said 'libinih-dev libmd-dev libuv1-dev pkg-config zlib1g-dev'
summary
