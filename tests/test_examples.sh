# joblib's documentation as C programs (tests/examples/): each is compiled as its reader would,
# the commands in its head are typed, and what README.md quotes of it is what it says.
. tests/shell.sh
. tests/page.sh

command_of() { # command_of NAME.c: the command to type, but for -o
	flags=
	grep -q '<glib.h>' "tests/examples/$1" && flags=$(pkg-config --cflags --libs glib-2.0)
	echo "$CC $SANFLAGS -std=gnu11 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror" \
		"-Iinclude tests/examples/$1 -L$work/build -lparloop -Wl,-rpath,$work/build -lm $flags"
}

page_of() { # page_of NAME.c: its head as a page, the commands that it shows
	echo '```console'
	sed -n '/^ \*\t/s///p; /\*\//q' "tests/examples/$1"
	echo '```'
}

# A block of README.md that begins "/* from tests/examples/NAME.c */" goes on as some part of
# it, and one that begins "/* NAME.c - " is the whole.
quotes() { # quotes NAME.c
	awk -v name="$1" '
	FNR == NR { line[++n] = $0; next }
	/^```/ && inside { inside = 0; check(); next }
	/^```c$/ { inside = 1; size = 0; next }
	inside { block[++size] = $0 }
	function part(from, first,    i) {
		for (i = 1; i <= size - first; i++)
			if (line[from + i] != block[first + i])
				return 0
		return 1
	}
	function check(    from, found) {
		if (index(block[1], "/* " name " - ") == 1)
			found = size == n && part(0, 0)
		else if (block[1] == "/* from tests/examples/" name " */")
			for (from = 0; from <= n - size + 1 && !found; from++)
				found = part(from, 1)
		else
			return
		quoted++
		if (!found) {
			print "README.md quotes " name " wrongly, in the block that begins " block[2]
			bad = 1
		}
	}
	END {
		if (!quoted)
			print "README.md does not quote " name
		exit bad || !quoted
	}' "tests/examples/$1" README.md
}

for file in tests/examples/*.c; do
	name=$(basename "$file")
	expect "$name is quoted" quotes "$name"
	case $name in *_library.c) continue ;; esac
	begin_page
	expect "$name is compiled" $(command_of "$name") -o "$work/${name%.c}"
	library=${name%.c}_library
	if [ -f "tests/examples/$library.c" ]; then
		expect "$library.c is compiled" \
			$(command_of "$library.c") -fPIC -shared -o "$work/$library.so"
	fi
	if [ "$SAN" = thread ] && [ "$name" = glib_pool.c ]; then
		skip "glib_pool.c: ./glib_pool" "the thread sanitizer does not see GLib's locks"
		continue
	fi
	page_of "$name" >"$work/page"
	parts "$work/page"
	type_page "$name"
done

begin_page
expect "roots.c is compiled once more" $(command_of roots.c) -o "$work/roots"
echo '0 1 2 3 4 5 6 7 8 9' >"$work/roots.expected"
for backend in $("$O/parloop" backends | awk '!/^#/ && $2 != "broken" && $1 !~ /^(dask|ray)$/ { print $1 }'); do
	if [ "$backend" = mpi ]; then
		skip "roots.c prints the same on mpi" "its task is the program's, which ranks do not have"
		continue
	fi
	"$work/roots" "$backend" >"$work/roots.got" 2>&1
	expect "roots.c prints the same on $backend" same "$work/roots.expected" "$work/roots.got"
done
summary
