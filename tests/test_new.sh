# parloop new: what it writes builds against an installed parloop, as C and as C++, without a
# warning of either compiler, runs, is dropped in and runs again.
. tests/shell.sh

parloop=$PWD/$O/parloop
case $O in /*) parloop=$O/parloop ;; esac
make_new() { # make_new ARG ...: in $work
	(cd "$work" && "$parloop" new "$@")
}

refuses() { # refuses STATUS WORDS ARG ...
	wanted=$1 words=$2
	shift 2
	make_new "$@" >"$work/said" 2>&1
	status=$?
	cat "$work/said"
	[ "$status" = "$wanted" ] && grep -qF "$words" "$work/said"
}

expect "a backend is written" make_new some-thing
(cd "$work/some-thing" && ls) >"$work/got"
printf '%s\n' Makefile README.md some-thing.c test.c >"$work/want"
expect "with a source, a Makefile, a test and a README" same "$work/want" "$work/got"
expect "no other name is left in it" sh -c "! grep -rl mybackend '$work/some-thing'"
expect "a folder that exists is left alone" refuses 1 "some-thing: File exists" some-thing
expect "and stays whole" sh -c "cd '$work/some-thing' && ls | diff - '$work/want'"
expect "a name that no backend may have is refused" refuses 2 '"Mine" cannot be the name' Mine
expect "so is a path" refuses 2 '"../mine" cannot be the name' ../mine
expect "so is a long one" refuses 2 'at most 32 letters' abcdefghijklmnopqrstuvwxyzabcdefg
expect "so is what means something else" refuses 2 'not nested-' nested-mine
expect "so is another language" refuses 2 'unknown language "rust": there are c and c++' \
	--language rust other
expect "so is no name" refuses 2 "no name is given"
expect "so is a second one" refuses 2 'unexpected "b"' a b
expect "and nothing was written" sh -c "! ls '$work' | grep -E '^(Mine|other|a|b)$'"
cannot_write() {
	(cd /proc && "$parloop" new mine) 2>&1 | grep -F "cannot write a new backend; mine: "
}
expect "a folder that cannot be made is named with the reason" cannot_write
half_written() { # a disk that is full after a few kilobytes
	(cd "$work" && trap '' XFSZ && ulimit -f 1 && "$parloop" new half) 2>&1 |
		grep -F "File too large" && [ ! -e "$work/half" ]
}
expect "of a backend that cannot be written whole nothing stays" half_written

if [ -n "$SAN" ]; then
	skip "what is written builds and runs" "the pass without sanitizers installs"
	summary
fi
prefix=$work/usr
expect "parloop is installed" make --no-print-directory CC="$CC" PREFIX="$prefix" install
parloop=$prefix/bin/parloop
unset PARLOOP_CONF XDG_CONFIG_HOME
export HOME="$work" PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
strict="-O2 -g -Wall -Wextra -Wpedantic -Werror"

of_a_stranger() { # of_a_stranger FOLDER TARGET ...
	folder=$1
	shift
	env -u MAKEFLAGS -u MFLAGS make --no-print-directory -C "$work/$folder" CC="$c" CXX="$cxx" CFLAGS="$strict" \
		PARLOOP="$parloop" "$@"
}
runs_on() { # runs_on NAME: as a job of the command's
	timeout 60 "$parloop" map -b "$1" -j 2 "$PWD/$O/tasks/demo.so:upper" ::: no other step |
		tr '\n' ' ' | grep -x 'NO OTHER STEP '
}
tries() { # tries NAME LANGUAGE
	expect "$2, $c: one is written" make_new "$1" -l "$2"
	expect "$2, $c: it builds with $strict" of_a_stranger "$1" "$1.so"
	expect "$2, $c: its test passes" of_a_stranger "$1" test
	expect "$2, $c: it keeps every rule" of_a_stranger "$1" check
	expect "$2, $c: it is dropped in" of_a_stranger "$1" install
	expect "$2, $c: and runs" runs_on "$1"
}

for compilers in "gcc g++" "clang clang++"; do
	c=${compilers% *} cxx=${compilers#* }
	if ! command -v "$cxx" >/dev/null; then
		skip "what is written builds with $c" "it is not here"
		continue
	fi
	tries "in-$c" c
	tries "in-$c-too" c++
done
c=gcc cxx=g++
expect "the folder of parloop.pc can be named to make" sh -c \
	"unset PKG_CONFIG_PATH; make -C '$work/in-gcc' CC=gcc PKG_CONFIG_PATH='$prefix/lib/pkgconfig' clean test"
says_what_is_missing() {
	! PKG_CONFIG_PATH=/nonesuch PKG_CONFIG_LIBDIR=/nonesuch make -C "$work/in-gcc" 2>&1 | tee "$work/said" | grep -q 'fatal error' &&
		grep -q 'name the folder that has parloop.pc: make PKG_CONFIG_PATH=FOLDER' "$work/said"
}
expect "or what is missing is said" says_what_is_missing
expect "into a folder that is not there yet it is installed as well" \
	of_a_stranger in-gcc DESTDIR="$work/dest" install
expect "and lies there" test -f "$work/dest$prefix/lib/parloop/in-gcc.so"

# As its author would: break something, see it said, and stop there.
twice() { # its batches are given back twice
	make_new twice &&
		sed -i 's/host->done(host, batch, host->run(host, batch), NULL);/host->done(host, batch, host->run(host, batch), NULL),\n\t\thost->done(host, batch, 0, NULL);/' \
			"$work/twice/twice.c" && of_a_stranger twice twice.so
}
finds_twice() { # finds_twice WORDS ARG ...: what check says
	words=$1
	shift
	! "$parloop" check "$@" "$work/twice/twice.so" >"$work/said" 2>&1 && cat "$work/said" &&
		grep -qF "$words" "$work/said"
}
expect "what its author breaks builds" twice
expect "and is found by the installed command" finds_twice "a batch is given back twice" --only B3
expect "by random steps too" finds_twice "a batch is given back twice" --fuzz 3 100
if command -v gdb >/dev/null; then
	stops() {
		timeout 60 gdb -q -batch -ex 'break rule_is_broken' -ex run -ex backtrace --args \
			"$parloop" check --only B3 --in-process "$work/twice/twice.so" >"$work/said" 2>&1
		cat "$work/said"
		grep -q 'twice.c:' "$work/said"
	}
	expect "a debugger stops in the line that does it" stops
else
	skip "a debugger stops in the line that does it" "no gdb here"
fi

checkout() { # against a checkout that was not installed
	PKG_CONFIG_PATH=$PWD/$O of_a_stranger in-gcc clean test
}
c=gcc cxx=g++
expect "a checkout that was not installed will do as well" checkout
summary
