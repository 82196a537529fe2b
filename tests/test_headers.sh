# The public headers, each by itself, as the languages that promise to take them.
. tests/shell.sh

# No hole in a struct either: what a later version has there would be what the stack had.
strict="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wcast-qual -Wundef -Werror"
alone="$strict -Wpadded -fsyntax-only -Iinclude"
compilers=gcc
if command -v clang >/dev/null; then
	compilers="gcc clang"
else
	skip "headers compile with clang" "no clang here"
fi

compiles_alone() { # compiles_alone COMPILER LANGUAGE STANDARD HEADER
	printf '#include <parloop/%s>\n#include <parloop/%s>\n' "$4" "$4" |
		"$1" -x "$2" "-std=$3" $alone -
}

for header in include/parloop/*.h; do
	header=${header##*/}
	for compiler in $compilers; do
		for language in "c c11" "c c17" "c++ c++17"; do
			set -- $language
			expect "$header compiles alone with $compiler as $2" \
				compiles_alone "$compiler" "$1" "$2" "$header"
		done
	done
done

# What the macros make of an author's source.
cat >"$work/use.c" <<'END'
#include <parloop/task.h>
#include <parloop/backend.h>

static int twice(const double *in, double *out)
{
	*out = 2 * *in;
	return 0;
}
PAR_TASK(twice, double, double)

static int slow(par_env *env, const int *in, int *out)
{
	*out = *in;
	return par_cancelled(env) ? par_fail_task(env, 1, "stopped at %d", *in) : 0;
}
PAR_TASK_ENV(slow, int, int)

static int echo(par_env *env, const void *payload, uint64_t size)
{
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(echo)

PAR_PLUGIN(
	PAR_VERSION("1.0")
	PAR_BACKEND("some", "some backend")
	PAR_CAPABILITIES("shares_memory auto_batches")
	PAR_BATCH_TIMES("200us", "2ms")
	PAR_OPTION_INT("cards", 1, 1, 16, "how many")
	PAR_OPTION_SIZE("room", "1M", "64k", "1G", "how much")
	PAR_OPTION_TIME("wait", "20ms", "1ms", "2min", "how long")
	PAR_OPTION_BOOL("eager", "no", "whether")
	PAR_OPTION_CHOICE("start", "spawn", "spawn|fork", "which way")
	PAR_OPTION_TEXT("required secret key", "", "what"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host;
	(void)name;
	return NULL;
}
END

uses_macros() { # uses_macros COMPILER LANGUAGE STANDARD
	"$1" -x "$2" "-std=$3" $strict -Iinclude -fPIC -fvisibility=hidden -shared \
		-Wl,-z,defs "$work/use.c" -o "$work/use.so" &&
		nm -D --defined-only "$work/use.so" | sed 's/.* //' | sort >"$work/names" &&
		printf '%s\n' par_task_echo par_task_slow par_task_twice parloop_backend_v1 |
		same - "$work/names" &&
		readelf -p .note.parloop "$work/use.so" | grep -q 'backend some some backend'
}

for compiler in $compilers; do
	expect "tasks and a note made by $compiler in C stand where they are looked for" \
		uses_macros "$compiler" c c11
	expect "tasks and a note made by $compiler in C++ stand where they are looked for" \
		uses_macros "$compiler" c++ c++17
done
summary
