# make install, and what a stranger does with it: a program and a plugin of their own,
# built with pkg-config from what was installed, away from this checkout.
. tests/shell.sh

if [ -n "$SAN" ]; then
	skip "an installed parloop serves a program and a plugin of its own" \
		"the pass without sanitizers installs"
	summary
fi

here=$PWD
prefix=$work/usr
installing() {
	make --no-print-directory CC="$CC" PREFIX="$prefix" "$@"
}

cksum "$O/libparloop.so.1" "$O/parloop" "$O/parloop-worker" >"$work/before"
expect "make install succeeds" installing install
cksum "$O/libparloop.so.1" "$O/parloop" "$O/parloop-worker" >"$work/after"
expect "the checkout's own library and programs stay as they were" same "$work/before" "$work/after"

cat >"$work/plugin.c" <<'END'
#include <parloop/backend.h>

#include <stdlib.h>

PAR_PLUGIN(
	PAR_VERSION("1.0")
	PAR_BACKEND("stranger", "somebody else's")
	PAR_CAPABILITIES("shares_memory runs_inline"))

struct par_backend {
	const par_host *host;
};

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
	(void)options;
	(void)level;
	(void)inner_max_num_threads;
	*backend = malloc(sizeof(**backend));
	if (*backend == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	(*backend)->host = host;
	return PAR_OK;
}

static void destroy(par_backend *backend)
{
	free(backend);
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	(void)backend;
	(void)n_jobs;
	return 1;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	(void)future;
	(void)error;
	backend->host->done(backend->host, batch, backend->host->run(backend->host, batch), NULL);
	return PAR_OK;
}

static const par_backend_ops ops = {
	.size = sizeof(ops),
	.abi = PAR_ABI,
	.create = create,
	.destroy = destroy,
	.effective_n_jobs = effective_n_jobs,
	.submit = submit,
};

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host;
	(void)name;
	return &ops;
}
END

# Prints where the configuration and the backend came from, and a sum.
cat >"$work/program.c" <<'END'
#include <parloop/parloop.h>

static int twice(const int *in, int *out)
{
	*out = 2 * *in;
	return 0;
}
PAR_TASK(twice, int, int)

int main(int argc, char **argv)
{
	par_error error = PAR_ERROR_INIT;
	par_parallel *pool;
	int values[100];
	long sum = 0;
	char text[1200];

	for (int i = 0; i < 100; i++)
		values[i] = i;
	if (par_open(&pool, PAR_SETTINGS(.backend = argc > 1 ? argv[1] : NULL, .n_jobs = PAR_SET(2)),
	             &error) < 0 ||
	    par_map(pool, &par_task_twice, values, values, 100, NULL, &error) < 0) {
		puts(par_error_text(&error, 1, text, sizeof(text)));
		return 1;
	}
	for (int i = 0; i < 100; i++)
		sum += values[i];
	printf("%s\n%s\n%s\n%ld\n", par_config_file(), par_backend_name(pool),
	       par_backend_file(pool), sum);
	par_close(pool);
	return 0;
}
END

export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib"
unset PARLOOP_CONF XDG_CONFIG_HOME
home=$HOME
export HOME="$work"
cd "$work" || exit 1

expect "a program builds with pkg-config" \
	sh -c "$CC -Wall -Wextra -Werror program.c \$(pkg-config --cflags --libs parloop) -o program"
expect "a plugin builds with pkg-config, linked against nothing of ours" \
	sh -c "$CC -Wall -Wextra -Werror plugin.c \$(pkg-config --variable=plugin_cflags parloop) \
		\$(pkg-config --variable=plugin_libs parloop) -o stranger.so"
plugindir=$(pkg-config --variable=plugindir parloop)
expect "it is dropped into the folder that parloop.pc names" cp stranger.so "$plugindir"

runs_on() { # runs_on NAME ARG ...: with the installed plugins.conf, plugin and library
	name=$1
	shift
	printf '%s\n' "$prefix/etc/parloop/plugins.conf" "$name" "$plugindir/$name.so" 9900 >expected
	timeout 20 ./program "$@" | same expected -
}

expect "the program runs on the stranger's plugin" runs_on stranger stranger
expect "the program runs on threading if it names none" runs_on threading
expect "the installed command lists the stranger's plugin by its file" \
	sh -c "env -u LD_LIBRARY_PATH $prefix/bin/parloop backends | grep -F '$plugindir/stranger.so'"
expect "the installed worker finds the installed library" \
	sh -c "env -u LD_LIBRARY_PATH $prefix/bin/parloop-worker --version"
expect "worker processes are the installed worker" \
	sh -c "env -u LD_LIBRARY_PATH $prefix/bin/parloop map -b loky $here/$O/tasks/demo.so:upper ::: a |
		grep -x A"

# A plugin in a language that cannot read the headers.
rust=$here/tests/examples/rust
layouts_agree() {
	{
		printf '#include <parloop/backend.h>\n'
		printf '#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size")\n'
		printf '#define AT(type, field, at) _Static_assert(offsetof(type, field) == (at), "offset")\n'
		./layout | sed 's/r#//'
	} >layout.c && [ "$(grep -c '^SIZE' layout.c)" = 7 ] &&
		$CC -std=c11 -fsyntax-only $(pkg-config --cflags parloop) layout.c
}
checks() { # checks FILE: with the installed command
	env -u LD_LIBRARY_PATH timeout 100 "$prefix/bin/parloop" check "$1"
}
rustc() { # with the home that it was installed for
	HOME=$home command rustc --edition 2021 "$@"
}
if ! rustc --version >/dev/null 2>&1; then
	skip "a plugin in Rust is built, keeps the rules, and runs" "no rustc here"
else
	expect "what the example in Rust says of the structs is built" rustc "$rust/layout.rs" -o layout
	expect "and is what the installed headers say" layouts_agree
	expect "a plugin in Rust is built, without a warning" \
		rustc -D warnings -O -C panic=abort --crate-type cdylib "$rust/rusty.rs" -o rusty.so
	expect "it keeps all rules" checks ./rusty.so
	expect "it is dropped in" cp rusty.so "$plugindir"
	expect "the program runs on it" runs_on rusty rusty
	rm "$plugindir/rusty.so"
fi

mv "$plugindir/processes.so" processes.so
expect "without their plugin the command says which file it is" \
	sh -c "env -u LD_LIBRARY_PATH $prefix/bin/parloop show loky 2>&1 |
		grep -F 'put processes.so into $plugindir'"
mv processes.so "$plugindir/processes.so"
expect "nothing that was installed names the checkout" \
	sh -c "! grep -rlF --exclude='*.so*' --exclude='parloop*' '$here' $prefix; \
		! strings -a $prefix/lib/libparloop.so.1 | grep -F '$here/plugins'"
for page in parloop.1 parloop-worker.1 plugins.conf.5 libparloop.3 parloop-task.7 parloop-backend.7; do
	expect "$page is where man looks" test -f "$prefix/share/man/man${page##*.}/$page"
done
expect "the manual for who writes backends is there" same "$here/plugins/README.md" "$prefix/share/doc/parloop/backends.md"
expect "and what the shell completes where it looks" \
	test -f "$prefix/share/bash-completion/completions/parloop"
printf '#include <parloop/parloop.h>\nPAR_VERSION_STRING\n' >version.h
expect "parloop.pc says the version of the header" \
	sh -c "$CC -E -P \$(pkg-config --cflags parloop) version.h | tail -n 1 |
		grep -Fx '\"'\$(pkg-config --modversion parloop)'\"'"

cd "$here" || exit 1
unset PKG_CONFIG_PATH LD_LIBRARY_PATH

# The loader of a made-up machine: it searches $prefix/lib.
cat >"$work/ldconfig" <<END
#!/bin/sh
case \$* in
*-v*-N*) echo "$prefix/lib: (from /etc/ld.so.conf.d/libc.conf:2)" ;;
*) echo "ldconfig\$*" >>$work/cached ;;
esac
END
chmod +x "$work/ldconfig"
told() { # told LINE ...: what the loader was told since the last time
	if [ $# -gt 0 ]; then printf '%s\n' "$@"; fi | same - "$work/cached"
}
echo '# mine' >>"$prefix/etc/parloop/plugins.conf"
: >"$work/cached"
expect "a second make install succeeds" installing LDCONFIG="$work/ldconfig" install
expect "the loader is told of a library where it searches" told ldconfig
expect "and leaves a changed plugins.conf alone" \
	sh -c "tail -n 1 $prefix/etc/parloop/plugins.conf | grep -x '# mine'"
expect "make uninstall succeeds" installing LDCONFIG="$work/ldconfig" uninstall
expect "the loader is told of that too" told ldconfig ldconfig
(cd "$prefix" && find . ! -type d | sort) >"$work/left"
printf '%s\n' ./etc/parloop/plugins.conf ./lib/parloop/stranger.so >"$work/expected"
expect "it leaves what is not ours, and nothing else" same "$work/expected" "$work/left"

expect "make install with DESTDIR writes below it" \
	make --no-print-directory CC="$CC" PREFIX=/usr DESTDIR="$work/root" \
		LDCONFIG="$work/ldconfig" install
expect "and tells no loader" told ldconfig ldconfig
expect "with PREFIX=/usr the configuration is in /etc" test -f "$work/root/etc/parloop/plugins.conf"
expect "parloop.pc does not know DESTDIR" \
	sh -c "! grep -F '$work' $work/root/usr/lib/pkgconfig/parloop.pc"
expect "make uninstall with DESTDIR succeeds" \
	make --no-print-directory CC="$CC" PREFIX=/usr DESTDIR="$work/root" uninstall
expect "and leaves nothing" sh -c "! find $work/root ! -type d | grep ."
expect "no folder of ours either" sh -c "! find $work/root -name parloop -o -name pkgconfig | grep ."
summary
