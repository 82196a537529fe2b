#!/bin/sh
# run.sh PROGRAM ... - run test programs one after the other, and count.
#
# Each ends with check's line "NN%: Checks: A, Failures: B, Errors: C"; a shell test
# prints the same.  A line that begins with SKIP is one of those checks that had
# nothing to test here.  The list of behaviours counts as this does, in a last line "A passed,
# B failed, C skipped".  What a program prints is shown if something failed in it.  Each has a
# $TMPDIR of its own, where it must leave no file, and by which the processes are known that it
# started: it must leave none of those either.
#
#   LIMIT  seconds that a program may take (300)
#   WRAP   a command to run the C programs under, as valgrind
set -u
limit=${LIMIT:-300}
passed=0 failed=0 skipped=0
own=
log=$(mktemp) || exit 1
trap 'rm -rf "$log" "$own"' EXIT

# What is left of a program.  A process that is ending has a moment to do so.
left_behind() {
	moments=50
	while
		processes=$(grep -lsz "^TMPDIR=$own" /proc/[0-9]*/environ)
		[ -n "$processes" ] && [ $((moments -= 1)) -gt 0 ]
	do
		sleep 0.1
	done
	echo $(ls -A "$own") $processes
}

for program; do
	case $program in
	*.sh) set -- sh "$program" ;;
	*) set -- ${WRAP:-} "$program" ;;
	esac
	own=$(mktemp -d) || exit 1
	TMPDIR=$own timeout -k 10 "$limit" "$@" >"$log" 2>&1 </dev/null
	status=$?
	left=$(left_behind)
	rm -rf "$own"
	counts=$(awk '
		/^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+$/ {
			checks += $3; bad += $5 + $7; lines++
		}
		/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ {
			checks += $1 + $3 + $5; bad += $3; skips += $5; lines++
		}
		/^SKIP/ { skips++ }
		END { print checks + 0, bad + 0, skips + 0, lines + 0 }' "$log")
	set -- $counts
	checks=$1 bad=$2 skips=$3 lines=$4
	why=
	if [ "$status" = 124 ] || [ "$status" = 137 ]; then
		why="not done after $limit s"
	elif [ "$lines" = 0 ]; then
		why="ended with status $status before it could count"
	elif [ "$status" != 0 ] && [ "$bad" = 0 ]; then
		why="all checks passed, but it ended with status $status"
	elif [ "$status" = 0 ] && [ "$bad" != 0 ]; then
		why="checks failed, but it ended with status 0"
	elif [ -n "$left" ]; then
		why="left behind: $left"
	fi
	name=$(basename "$program")
	if [ -n "$why" ]; then
		[ "$bad" != 0 ] || bad=1 checks=$((checks + 1))
	fi
	if [ "$bad" != 0 ]; then
		sed 's/^/    | /' "$log" | tail -n 200
	fi
	printf '%-22s %s\n' "$name" \
		"$((checks - bad - skips)) passed, $bad failed, $skips skipped${why:+ ($why)}"
	passed=$((passed + checks - bad - skips))
	failed=$((failed + bad))
	skipped=$((skipped + skips))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
