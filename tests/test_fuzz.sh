# Each fuzz target survives its corpus, what fuzzers begin with and what they found before, and some
# thousand changed copies of it, the same each time.  (make fuzz goes on from there.)
. tests/shell.sh

copies=20000
[ -z "$SAN" ] || copies=10000
ulimit -c 0

for source in tests/fuzz/*.c; do
	target=${source##*/} target=${target%.c}
	expect "$target survives what lies in its corpus, and changed copies of it" \
		"$O/tests/fuzz/$target" --mutations $copies "tests/fuzz/$target"
done

note=$O/tests/fuzz/note whole=tests/fuzz/note/whole
"$note" --show 7 tests/fuzz/note >"$work/first"
"$note" --show 7 tests/fuzz/note >"$work/again"
"$note" --show 7 --seed 2 tests/fuzz/note >"$work/other"
expect "a changed copy can be shown" test -s "$work/first"
expect "and is the same each time" cmp "$work/first" "$work/again"
expect "for a seed" sh -c "! cmp -s '$work/first' '$work/other'"

broken() { # without a descriptor to open anything
	! (ulimit -n 4 && "$note" "$whole") >"$work/said" 2>&1 &&
		grep -F "ended with signal 6 in $whole" "$work/said"
}
expect "what a target does not survive is named" broken
expect "nor is it taken for a corpus where there is none" \
	sh -c "! '$note' '$work/nothing' 2>/dev/null"
summary
