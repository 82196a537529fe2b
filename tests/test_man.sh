# The man pages say what there is: every option, setting, function and operation, and nothing
# else; and they are well-formed.
. tests/shell.sh

pages="core/cli/parloop.1 core/worker/parloop-worker.1 core/plugins.conf.5
	include/parloop/libparloop.3 include/parloop/parloop-task.7 plugins/parloop-backend.7"

expect "all pages are in the list of this test" sh -c "
	ls core/*.[1-9] core/*/*.[1-9] include/parloop/*.[1-9] plugins/*.[1-9] | sort >'$work/there'
	printf '%s\n' $(echo $pages) | sort | diff - '$work/there'"

if command -v mandoc >/dev/null; then
	for page in $pages; do
		expect "$page is well-formed" mandoc -Tlint -W warning "$page"
	done
	printf '.Dd never\n.Sh NAME\n' >"$work/bad.1"
	expect "a bad page would be seen" sh -c "! mandoc -Tlint -W warning '$work/bad.1'"
else
	skip "the pages are well-formed" "no mandoc here"
fi

# Long options that text has, a line each.
options_of() { # options_of FILE: of a help
	grep -oE -- '--[a-z][a-z-]*' "$1" | sort -u
}
flags_of() { # flags_of PAGE
	grep -oE -- 'Fl -[a-z][a-z-]*' "$1" | sed 's/^Fl -/--/' | sort -u
	grep -oE -- '[,] -[a-z][a-z-]*' "$1" | sed 's/^, -/--/' | sort -u
}

for command in $("$O/parloop" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'); do
	"$O/parloop" help $command >>"$work/help"
	expect "parloop(1) has the command $command" grep -q "^\.It Cm $command\$" core/cli/parloop.1
done
"$O/parloop" --help >>"$work/help"
options_of "$work/help" >"$work/said"
flags_of core/cli/parloop.1 | sort -u >"$work/written"
expect "parloop(1) has the options of the help, and no others" same "$work/said" "$work/written"
"$O/parloop-worker" --help >"$work/help"
options_of "$work/help" >"$work/said"
flags_of core/worker/parloop-worker.1 | sort -u >"$work/written"
expect "parloop-worker(1) has the options of its help, and no others" \
	same "$work/said" "$work/written"

sed -n '/^static const struct/,/^};/!d; s/^	{"\([a-z_]*\)", set_.*/\1/p' core/conf.c |
	sort >"$work/keys"
sed -n '/^\.Ss \[parloop\]/,/^\.Ss \[backend/p' core/plugins.conf.5 | sed -n 's/^\.It Ic //p' |
	sed 's/ , /\n/g' | sort >"$work/written"
expect "plugins.conf(5) has the settings of [parloop], and no others" \
	same "$work/keys" "$work/written"

cat include/parloop/parloop.h include/parloop/worker.h | tr '\n' ' ' |
	grep -oE 'PAR_API [^;(]*\(' | grep -oE 'par_[a-z_]*\($' | tr -d '(' | sort -u >"$work/api"
grep -oE 'par_[a-z_]+' include/parloop/libparloop.3 | sort -u >"$work/written"
expect "libparloop(3) has every function" sh -c "! comm -23 '$work/api' '$work/written' | grep ."
expect "and the headers have more than 30" sh -c "[ \$(wc -l <'$work/api') -gt 30 ]"

in_struct() { # in_struct FIRST-LINE: the functions that are members
	sed -n "/$1/,/^}/p" include/parloop/backend.h | grep -oE '\(\*[a-z_]+\)' | tr -d '(*)' | grep -v '^fn$' | sort -u
}
sed -n '/^\.Ss The operations/,/^\.Ss Threads/p' plugins/parloop-backend.7 |
	sed -n 's/^\.It Fn //p; s/^\.Fn //p' | sed 's/ , /\n/g; s/Fn //g' | tr -d ' ,' | sort -u >"$work/written"
{ in_struct '^typedef struct par_backend_ops' && in_struct '^struct par_host'; } | sort -u >"$work/ops"
expect "parloop-backend(7) has every operation and what the host does" \
	sh -c "! comm -23 '$work/ops' '$work/written' | grep ."
sed -n 's/^	{"\([a-z_]*\)", PAR_[A-Z_]*},$/\1/p' core/note.c | sort >"$work/words"
sed -n '/^\.Ss The note/,/^\.Ss The operations/p' plugins/parloop-backend.7 |
	sed -n 's/^\.It Cm //p' | sort >"$work/written"
expect "parloop-backend(7) has the capabilities, and no others" same "$work/words" "$work/written"
grep -oE '^#define PAR_OPTION_[A-Z]+' include/parloop/backend.h | sed 's/#define //' | sort -u >"$work/macros"
grep -oE 'PAR_OPTION_[A-Z]+' plugins/parloop-backend.7 | sort -u >"$work/written"
expect "and the kinds of options" same "$work/macros" "$work/written"

# The whole program in libparloop(3).
sed -n '/^#include <math.h>/,/^\.Ed/p' include/parloop/libparloop.3 | sed '$d; s/\\e/\\/g' >"$work/roots.c"
expect "the program in libparloop(3) compiles" \
	$CC $SANFLAGS -Wall -Iinclude "$work/roots.c" -L"$O" -lparloop -Wl,-rpath,"$PWD/$O" -lm -o "$work/roots"
expect "and runs" sh -c "[ \"\$('$work/roots')\" = '0 1 2 3' ]"
# The task module in parloop-task(7).
{
	echo '#include <parloop/task.h>'
	sed -n '/^static int echo/,/^\.Ed/p' include/parloop/parloop-task.7 | sed '$d'
} >"$work/echo.c"
expect "the task module in parloop-task(7) compiles" \
	$CC -shared -fPIC -Iinclude "$work/echo.c" -o "$work/echo.so"
expect "and echoes" sh -c "[ \"\$('$O/parloop' map '$work/echo.so:echo' ::: one two)\" = 'one
two' ]"
summary
