#!/bin/sh
# run-headers.sh - the real job of `make run`: count the lines, words and bytes of every header
# below /usr/include, and their CRC-32, once on each backend that is available, and
# compare all of it with what wc says and with one another.
#
#   O        the build folder (build)
#   HEADERS  the folder to search (/usr/include)
set -u
export LC_ALL=C
O=${O:-build}
folder=${HEADERS:-/usr/include}
parloop=$O/parloop
module=$O/tasks/count.so
case $module in */*) ;; *) module=./$module ;; esac

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

now() {
	date +%s.%N
}

# seconds START END
seconds() {
	awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b - a }'
}

# totals FILE: lines, words and bytes, summed up
totals() {
	awk '{ l += $1; w += $2; b += $3 } END { printf "%d %d %d\n", l, w, b }' "$1"
}

# row NAME FILES LINES WORDS BYTES SECONDS [VERDICT]
row() {
	printf '%-12s %6s %9s %10s %11s %8s' "$1" "$2" "$3" "$4" "$5" "$6"
	printf '%s\n' "${7:+  $7}"
}

# The names of the available backends in $names, the default first.
find_backends() {
	"$parloop" backends >"$work/backends" || return
	default=$(sed -n 's/^# default: //p' "$work/backends")
	names=$(awk -F '\t' -v default="$default" '
		/^#/ || ($2 != "available" && $2 != "loaded") { next }
		$1 == default { first = $1 "\n"; next }
		{ others = others $1 "\n" }
		END { printf "%s%s", first, others }' "$work/backends")
}

# Run the job on one backend, print its row, and say whether all is well.
run() {
	backend=$1
	begun=$(now)
	"$parloop" map -b "$backend" -j -1 "$module:count" <"$work/files" >"$work/out"
	status=$?
	ended=$(now)
	# A backend is judged by its output file by file: line, word and byte counts.
	cut -d ' ' -f 1-3 "$work/out" >"$work/counts"
	different=$(diff "$work/wc" "$work/counts" | grep -c '^>')
	bad=0 verdict='= wc'
	if [ "$status" != 0 ]; then
		bad=1 verdict="ended with status $status"
	elif ! cmp -s "$work/wc" "$work/counts"; then
		bad=1 verdict="differs from wc for $different files"
	elif [ ! -e "$work/first" ]; then
		cp "$work/out" "$work/first"
	elif cmp -s "$work/first" "$work/out"; then
		verdict='= wc, same CRC-32'
	else
		bad=1 verdict='CRC-32 differs from the first backend'
	fi
	[ "$backend" != "$default" ] || verdict="$verdict (default)"
	# shellcheck disable=SC2046 # three numbers are three arguments
	row "$backend" "$(grep -c '' "$work/out")" $(totals "$work/out") \
		"$(seconds "$begun" "$ended")" "$verdict"
	return $bad
}

find "$folder" -name '*.h' -type f | sort >"$work/files"
files=$(grep -c '' "$work/files")
if [ "$files" = 0 ]; then
	echo "$0: no headers below $folder" >&2
	exit 1
fi
find_backends || exit
if [ -z "$names" ]; then
	echo "$0: no backend is available; see $parloop backends" >&2
	exit 3
fi

echo "parloop map -b BACKEND -j -1 $module:count, over the headers below $folder"
row backend files lines words bytes seconds
begun=$(now)
tr '\n' '\0' <"$work/files" | wc --files0-from=- >"$work/wc.raw" || exit 1
ended=$(now)
# Without wc's last line, the total, which it prints if there are two files or more.
awk -v n="$files" 'NR <= n { print $1, $2, $3 }' "$work/wc.raw" >"$work/wc"
# shellcheck disable=SC2046
row wc "$files" $(totals "$work/wc") "$(seconds "$begun" "$ended")"

failed=0
for name in $names; do
	run "$name" || failed=1
done
exit $failed
