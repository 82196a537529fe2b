# The runner of the tests: counts what they say, and believes none that did not finish.
. tests/shell.sh

says() { # says NAME STATUS LINE ...: a test program that prints lines and ends
	script=$work/$1.sh
	status=$2
	shift 2
	printf "echo '%s'\n" "$@" >"$script"
	echo "exit $status" >>"$script"
}

counted() { # counted STATUS LAST-LINE NAME ...
	want_status=$1
	want=$2
	shift 2
	programs=
	for name; do
		programs="$programs $work/$name.sh"
	done
	LIMIT=2 sh tests/run.sh $programs >"$work/run"
	status=$?
	cat "$work/run"
	[ "$status" -eq "$want_status" ] && [ "$(tail -n 1 "$work/run")" = "$want" ]
}

says good 0 '100%: Checks: 5, Failures: 0, Errors: 0'
says more 0 '100%: Checks: 2, Failures: 0, Errors: 0' 'SKIP one: why' \
	'100%: Checks: 1, Failures: 0, Errors: 0'
says list 0 '6 passed, 0 failed, 3 skipped'
says bad_list 1 '6 passed, 2 failed, 3 skipped'
says bad 1 '50%: Checks: 4, Failures: 1, Errors: 1'
says words 1 'long before' '50%: Checks: 2, Failures: 1, Errors: 0' \
	'tests/test_x.c:12:F:x:it_works:0: Assertion n == 3 failed' 'F: it is so: not so' '   why'
says report 1 '==7== Invalid read of size 8' '==7==    at 0x1: f (x.c:3)' \
	'50%: Checks: 2, Failures: 0, Errors: 1' 'tests/test_y.c:9:E:y:it_ends:0: Early exit'
says liar 0 '50%: Checks: 2, Failures: 1, Errors: 0'
says crash 139 'nothing yet'
says leak 23 '100%: Checks: 3, Failures: 0, Errors: 0'
printf 'echo "100%%: Checks: 3, Failures: 0, Errors: 0"\nexec tail -f /dev/null\n' >"$work/hangs.sh"

checked='echo "100%: Checks: 3, Failures: 0, Errors: 0"'
printf '%s\n' ': >"$TMPDIR/a-file"' "$checked" >"$work/litters.sh"
printf '%s\n' 'sleep 60 >/dev/null 2>&1 & echo $! >'"$work/pid" "$checked" >"$work/forgets.sh"

expect "adds up, and takes skipped checks out of those that passed" \
	counted 0 '7 passed, 0 failed, 1 skipped' good more
expect "a list of behaviours counts as we do" counted 0 '11 passed, 0 failed, 3 skipped' good list
expect "its failures too" counted 1 '6 passed, 2 failed, 3 skipped' bad_list
expect "failures and errors count" counted 1 '7 passed, 2 failed, 0 skipped' good bad
expect "a failure counts though the program ends with 0" \
	counted 1 '1 passed, 1 failed, 0 skipped' liar
expect "a crash counts as one failure" counted 1 '5 passed, 1 failed, 0 skipped' crash good
expect "a bad status after the last check counts" counted 1 '3 passed, 1 failed, 0 skipped' leak
# again LINE ... - each is in what is repeated at the end, of which there is only so much
again() {
	sed -n '/^--- what failed$/,$p' "$work/run" >"$work/again"
	for line; do
		grep -qxF -e "$line" "$work/again" || return 1
	done
	[ "$(wc -l <"$work/again")" -le 62 ]
}

counted 1 '15 passed, 3 failed, 0 skipped' words good report good crash good >/dev/null
crashed='ended with status 139 before it could count'
expect "what failed is repeated at the end" again \
	'words.sh               1 passed, 1 failed, 0 skipped' \
	'    | tests/test_x.c:12:F:x:it_works:0: Assertion n == 3 failed' \
	'    | F: it is so: not so' '    |    why' \
	'report.sh              1 passed, 1 failed, 0 skipped' \
	'    | tests/test_y.c:9:E:y:it_ends:0: Early exit' '    | ==7== Invalid read of size 8' \
	"crash.sh               0 passed, 1 failed, 0 skipped ($crashed)" \
	'    | nothing yet'
expect "but what passed is not" eval '! grep -e good -e "long before" "$work/again"'
many=$(yes words | head -n 40)
counted 1 '40 passed, 40 failed, 0 skipped' $many >/dev/null
expect "in some 60 lines, however many failed" again 'and 10 more'
counted 0 '5 passed, 0 failed, 0 skipped' good >/dev/null
expect "and nothing if nothing failed" eval '! grep -e "what failed" "$work/run"'
expect "a file that is left counts" counted 1 '8 passed, 1 failed, 0 skipped' litters good
expect "and is named" grep -F "left behind: a-file" "$work/run"
expect "a process that is left counts" counted 1 '8 passed, 1 failed, 0 skipped' forgets good
expect "and is named" grep -F "left behind: /proc/$(cat "$work/pid")/environ" "$work/run"
kill "$(cat "$work/pid")"
expect "a program that hangs is ended and counts" counted 1 '3 passed, 1 failed, 0 skipped' hangs
expect "an absent program counts" counted 1 '0 passed, 1 failed, 0 skipped' absent
expect "no program at all is not a success" counted 1 '0 passed, 0 failed, 0 skipped'
summary
