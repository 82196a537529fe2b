# shell.sh - for tests that are shell scripts; read with ". tests/shell.sh".
#
# They run in the top folder with O (build folder), PLUGINS, CC, SAN and SANFLAGS set as
# the Makefile has them, and end with `summary`, whose line is that of check.
set -u
export LC_ALL=C
: "${O:=build}" "${PLUGINS:=plugins}" "${CC:=cc}" "${SAN:=}" "${SANFLAGS:=}"
checks=0 failures=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# expect "what holds" COMMAND ARG ... - it succeeds; else what it printed is shown
expect() {
	sentence=$1
	shift
	checks=$((checks + 1))
	"$@" >"$work/.out" 2>&1 && return 0
	failures=$((failures + 1))
	echo "F: $sentence: not so, says $*"
	sed 's/^/   /' "$work/.out"
	return 1
}

# same FILE FILE - they are equal; else the difference is printed
same() {
	diff -u "$1" "$2"
}

# skip "what holds" "why it cannot be seen here"
skip() {
	checks=$((checks + 1))
	echo "SKIP $1: $2"
}

summary() {
	percent=$((checks ? 100 * (checks - failures) / checks : 0))
	echo "$percent%: Checks: $checks, Failures: $failures, Errors: 0"
	[ "$checks" -gt 0 ] && [ "$failures" -eq 0 ]
	exit
}
