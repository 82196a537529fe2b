#!/bin/sh
# run.sh PROGRAM ... - run test programs one after the other, and count.
#
# Each ends with check's line "NN%: Checks: A, Failures: B, Errors: C"; a shell test
# prints the same.  A line that begins with SKIP is one of those checks that had
# nothing to test here.  The list of behaviours counts as this does, in a last line "A passed,
# B failed, C skipped".  What a program prints is shown if something failed in it, and what matters
# of that again at the end, for who has only the last lines.  Each has a $TMPDIR of its own, where
# it must leave no file, and by which the processes are known that it started: it must leave none of
# those either.
#
#   LIMIT  seconds that a program may take (300)
#   WRAP   a command to run the C programs under, as valgrind
set -u
limit=${LIMIT:-300}
passed=0 failed=0 skipped=0 n_bad=0
own=
notes=$(mktemp -d) || exit 1
export XDG_CACHE_HOME="$notes/cache"
trap 'rm -rf "$notes" "$own"' EXIT

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

# What was said of the checks that failed, and by sanitizers and valgrind; if nothing was, the end.
excerpt() {
	{
		grep -E -A 6 ':[FE]:|^F: |: not ok: ' "$notes/log" | head -n 14
		grep -E -A 9 'Sanitizer: |: runtime error: |^==[0-9]+== ' "$notes/log" | head -n 14
	} >"$notes/found"
	[ -s "$notes/found" ] || tail -n 20 "$notes/log" >"$notes/found"
	echo "$name:"
	cut -c 1-400 "$notes/found" | sed 's/^/    | /'
}

# In 60 lines: names first, and words as far as there is room.
repeat_failures() {
	echo '--- what failed'
	head -n 30 "$notes/names"
	[ "$n_bad" -le 30 ] || echo "and $((n_bad - 30)) more"
	head -n $((n_bad < 30 ? 58 - n_bad : 27)) "$notes/words"
}

for program; do
	case $program in
	*.sh) set -- sh "$program" ;;
	*) set -- ${WRAP:-} "$program" ;;
	esac
	own=$(mktemp -d) || exit 1
	begun=$(date +%s)
	TMPDIR=$own timeout -k 10 "$limit" "$@" >"$notes/log" 2>&1 </dev/null
	status=$?
	took=$(($(date +%s) - begun))
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
		END { print checks + 0, bad + 0, skips + 0, lines + 0 }' "$notes/log")
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
	line=$(printf '%-22s %s' "$name" \
		"$((checks - bad - skips)) passed, $bad failed, $skips skipped${why:+ ($why)}")
	if [ "$bad" != 0 ]; then
		sed 's/^/    | /' "$notes/log" | tail -n 200
		n_bad=$((n_bad + 1))
		echo "$line" >>"$notes/names"
		excerpt >>"$notes/words"
	fi
	[ "$took" -lt 2 ] || line="$line, $took s"
	echo "$line"
	passed=$((passed + checks - bad - skips))
	failed=$((failed + bad))
	skipped=$((skipped + skips))
done
[ "$n_bad" = 0 ] || repeat_failures
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
