# What leaves the built files, and what they need.  (libm is a part of libc.)
. tests/shell.sh

exports() {
	nm -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }'
}

exports_only() { # exports_only REGEX FILE
	exports "$2" | grep . >"$work/exports" && ! grep -vxE "$1" "$work/exports"
}

# Every function that the public headers declare can be linked against.
exports_all_declared() {
	cat include/parloop/parloop.h include/parloop/worker.h | tr '\n' ' ' | grep -oE 'PAR_API [^;(]*\(' |
		grep -oE 'par_[a-z_]+ *\($' | tr -d ' (' | sort -u >"$work/declared"
	exports "$O/libparloop.so" | sort >"$work/exports"
	[ -s "$work/declared" ] && ! comm -23 "$work/declared" "$work/exports" | grep .
}

needs_only() { # needs_only REGEX FILE
	readelf -d "$2" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >"$work/needed"
	! grep -vxE "$1" "$work/needed"
}

# What it takes from libc's data lies in it too, and is none of ours.
exports_the_same() {
	exports "$O/libparloop.so" | sort >"$work/wanted"
	exports "$O/parloop-worker" | grep '^par_' | sort | same - "$work/wanted"
}

undefined_of_ours() {
	nm -D --undefined-only "$1" | grep -E ' (par_|parloop_)'
}

refused() {
	! "$@"
}

expect "only par_ names leave libparloop.so" exports_only 'par_[a-z0-9_]+' "$O/libparloop.so"
expect "every function of parloop.h and worker.h is in libparloop.so" exports_all_declared
expect "its name for the loader is libparloop.so.1" \
	sh -c "readelf -d $O/libparloop.so | grep -q 'SONAME.*\[libparloop.so.1\]'"
if [ -z "$SAN" ]; then
	expect "libparloop.so needs libuv, libinih, libmd and libc, and nothing else" \
		needs_only 'libuv\.so\.1|libinih\.so\.1|libmd\.so\.0|lib[cm]\.so\.6|ld-linux.*' "$O/libparloop.so"
	expect "parloop needs libparloop and libc" \
		needs_only 'libparloop\.so\.1|libc\.so\.6|ld-linux.*' "$O/parloop"
	expect "parloop-worker, which is to start fast, needs no library of ours" \
		needs_only 'libuv\.so\.1|libinih\.so\.1|libmd\.so\.0|lib[cm]\.so\.6|ld-linux.*' "$O/parloop-worker"
	expect "and shows modules what libparloop.so would" exports_the_same
else
	skip "libparloop.so needs libuv, libinih, libmd and libc, and nothing else" "a sanitizer is linked in"
	skip "parloop needs libparloop and libc" "a sanitizer is linked in"
	skip "parloop-worker, which is to start fast, needs no library of ours" "a sanitizer is linked in"
	skip "and shows modules what libparloop.so would" "a sanitizer is linked in"
fi
for plugin in "$PLUGINS"/*.so; do
	name=${plugin##*/}
	expect "$name exports the factory alone" exports_only parloop_backend_v1 "$plugin"
	expect "$name wants no symbol of ours" refused undefined_of_ours "$plugin"
	expect "$name has a note" sh -c "readelf -p .note.parloop $plugin | grep -q '^ .*backend '"
	expect "$name has no executable stack" \
		sh -c "readelf -lW $plugin | grep GNU_STACK | grep -vq RWE"
done
summary
