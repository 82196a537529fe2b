# Bad plugins of many kinds, each made here and dropped beside a good one: a program that asks for it
# is told which file, why and what to do, and goes on; one that asks for the good one gets it.
. tests/shell.sh

export HOME="$work" XDG_CONFIG_HOME="$work" XDG_CACHE_HOME="$work/cache" ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
unset PARLOOP_CONF PARLOOP_PLUGIN_DIR
umask 022
mkdir "$work/plugins" "$work/parloop" "$work/aside"
bad=$work/plugins/bad.so
ready=$O/tests/plugins # built with the tests
cp "$ready/good.so" "$work/plugins/good.so"
cp "$ready/good.so" "$work/whole.so"
size=$(stat -c %s "$work/whole.so")

configured() { # configured [LINE ...]: the plugins.conf of all that follows
	{
		echo "[parloop]"
		echo "plugin_dir = $work/plugins"
		printf '%s\n' "$@"
	} >"$work/parloop/plugins.conf"
}
# A plugins.conf that names a broken file is refused as a whole; a folder that has one is not.
printf '[parloop]\nplugin_dir = %s\n' "$work/plugins" >"$work/plain.conf"
others_load() {
	[ "$(PARLOOP_CONF=$work/plain.conf runs good)" = WORD ] || {
		cat "$work/said"
		echo "the good one does not run"
		return 1
	}
}
# A file that says nothing of itself can be asked for by its path.
by_path() {
	configured "[backend bad]" "path = $bad"
}

runs() { # runs BACKEND: a job on it
	timeout 30 "$O/parloop" map -b "$1" "$O/tasks/demo.so:upper" ::: word 2>"$work/said"
}
# It is refused with these words, the file is named, nothing crashes or hangs, and others load.
refused() { # refused BACKEND WORDS ...
	backend=$1
	shift
	runs "$backend" >"$work/out"
	status=$?
	cat "$work/said"
	[ "$status" -ge 1 ] && [ "$status" -le 3 ] || {
		echo "it ended with $status"
		return 1
	}
	[ ! -s "$work/out" ] || return 1
	for words; do
		grep -qF -e "$words" "$work/said" || {
			echo "it does not say: $words"
			return 1
		}
	done
	others_load
}
accepted() { # accepted BACKEND
	[ "$(runs "$1")" = WORD ] || {
		cat "$work/said"
		return 1
	}
	others_load
}
clear() {
	rm -rf "$bad" "$work/plugins/other.so" "$work/aside"
	mkdir "$work/aside"
	by_path
}
patch() { # patch OFFSET OCTAL-BYTES: of the whole one, as the bad one
	cp "$work/whole.so" "$bad"
	patch_in_place "$@"
}
patch_in_place() {
	printf "$2" | dd of="$bad" bs=1 seek="$1" conv=notrunc 2>/dev/null
}
cut() { # cut SIZE
	head -c "$1" "$work/whole.so" >"$bad"
}
builds() { # builds OUT [FLAG ...] <SOURCE
	out=$1
	shift
	cat >"$work/source.c"
	$CC $SANFLAGS -std=gnu11 -fPIC -fvisibility=hidden -Iinclude -Itests/plugins -shared \
		"$work/source.c" -o "$out" "$@" >"$work/cc" 2>&1 || cat "$work/cc"
}
stub() { # a plugin that passes, but for what is added
	echo '#include "stub.h"'
	echo 'PAR_PLUGIN(PAR_BACKEND("bad", "of a test"))'
	printf '%s\n' "$@"
	echo 'const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)'
	echo '{ (void)host, (void)name; return &stub_ops; }'
}

# --- what is no file ---------------------------------------------------------------------------

clear
expect "1 missing" refused bad "$bad" "No such file"
clear
ln -s "$work/nowhere.so" "$bad"
expect "2 a link to nothing" refused bad "$bad" "symbolic link to $work/nowhere.so, which does not exist"
clear
ln -s bad.so "$bad"
expect "3 a link to itself" refused bad "$bad" "Too many levels of symbolic links"
clear
cp "$work/whole.so" "$bad"
chmod 000 "$bad"
if [ "$(id -u)" = 0 ]; then
	skip "4 not readable" "root reads everything; test_elf has it"
else
	expect "4 not readable" refused bad "$bad" "Permission denied"
fi
clear
mkdir "$bad"
expect "5 a folder" refused bad "$bad" "is a directory"
clear
mkfifo "$bad"
expect "6 a pipe with nobody at its end" refused bad "$bad" "not a regular file"
for device in /dev/zero /dev/null; do
	clear
	ln -s "$device" "$bad"
	expect "7 $device" refused bad "not a regular file"
done
clear
: >"$bad"
expect "8 empty" refused bad "$bad" "empty file"

# --- what is no plugin -------------------------------------------------------------------------

clear
printf '#!/bin/sh\necho no\n' >"$bad"
expect "9 a script" refused bad "$bad" 'not an ELF file (starts with "#!/bin/sh")'
clear
yes 'some text' | head -c 20000 >"$bad"
expect "10 a long text" refused bad "$bad" "not an ELF file"
clear
head -c 20000 /dev/zero >"$bad"
expect "10 zeros" refused bad "$bad" "not an ELF file"
clear
printf '/* GNU ld script */\nGROUP ( libother.so )\n' >"$bad"
expect "10 a linker script" refused bad "$bad" "linker script"
clear
cut 32
expect "11 cut inside the header" refused bad "$bad" "truncated"
clear
cut 64
expect "12 cut behind it" refused bad "$bad" "truncated: program headers outside the file"
last=$(readelf -lW "$work/whole.so" | awk '$1 == "LOAD" { print $2, $5 }' | tail -n 1)
last=$((${last% *} + ${last#* }))
for length in 700 4096 9000 $((last * 3 / 4)) $((last - 1)); do
	[ "$length" -lt "$last" ] || continue
	clear
	cut "$length"
	expect "13 cut at $length" refused bad "$bad" "truncated"
done
clear
cut $((size - 10))
configured "[backend good]" "path = $bad"
expect "14 cut in what only a debugger reads" accepted good
clear
patch 4 '\001'
expect "15 of 32 bits" refused bad "$bad" "32-bit, this parloop is 64-bit"
clear
patch 18 '\267\000'
expect "16 for another machine" refused bad "$bad" "built for aarch64"
clear
patch 5 '\002'
expect "17 the other way round" refused bad "$bad" "big-endian"
clear
stub | builds "$bad"
patch_in_place 7 '\123'
expect "18 for another system" refused bad "$bad" "ELF file OS ABI invalid"
clear
patch 16 '\001\000'
expect "19 an object" refused bad "$bad" "not a shared object; link with -shared"
clear
patch 16 '\004\000'
expect "19 a core" refused bad "$bad" "not a shared object"
clear
cp "$O/parloop" "$bad"
expect "20 a program" refused bad "$bad" "a program, not a plugin"
clear
patch 16 '\002\000'
expect "20 a program of a fixed place" refused bad "$bad" "a program, not a shared object"
clear
patch 56 '\000\000'
expect "21 without segments" refused bad "$bad" "damaged ELF file"
clear
patch 32 '\377\377\377\377\377\377\377\177'
expect "21 whose segments lie nowhere" refused bad "$bad" "outside the file"
clear
printf 'int f(void) { return 1; }' | builds "$bad"
expect "23 a library" refused bad "$bad" "not a parloop plugin: it has no note"

# --- what its note says ------------------------------------------------------------------------

clear
cp "$ready/two_notes.so" "$bad"
expect "24 two notes" refused bad "$bad" "has two notes" "keep the one beside parloop_backend_v1"
note() { # note TEXT: a plugin that has this note
	stub | sed 's/PAR_PLUGIN(.*/__attribute__((section(".note.parloop"), used, aligned(4))) static const struct {\
		unsigned owner, text, type; char name[8], body[sizeof(TEXT)]; } note = {8, SIZE, 0x504c0001, "parloop", TEXT};/' |
		builds "$bad" "-DTEXT=\"$1\"" "-DSIZE=$2"
}
good='abi 1.0\nbackend bad x\n'
clear
note "$good" 'sizeof(TEXT) - 1'
expect "24 a note without NUL" refused bad "$bad" "its note does not end in NUL"
clear
note "$good" 0xfffffff0u
expect "24 of a size that cannot be" refused bad "$bad" "a note ends outside its segment"
clear
note "$good$(head -c 4100 /dev/zero | tr '\0' x)" 'sizeof(TEXT)'
expect "24 and of one that may not" refused bad "$bad" "at most 4096 are allowed"
clear
stub | sed 's/PAR_PLUGIN(.*/PAR_PLUGIN(PAR_BACKEND("bad", "x") "unheard of\\n")/' | builds "$bad"
configured
expect "24 a line that nobody knows" refused bad "for the loader's tests only"
clear
cp "$ready/newer_abi.so" "$bad"
configured
expect "25 a newer ABI" refused bad "$bad" "needs ABI 1.9, this parloop" "update parloop"
clear
cp "$ready/counts_and_denies.so" "$bad"
configured "[backend good]" "path = $bad"
runs good >/dev/null
expect "26 a note that promises too much" \
	grep -F 'note and code disagree: the note has backend "good"' "$work/said"
clear
stub | builds "$bad"
configured "[backend other]" "path = $bad"
expect "26 and one that the note has not, whatever its factory says" refused other "$bad" \
	'it offers "bad", not "other"'

# --- what the linker says ----------------------------------------------------------------------

clear
cp "$ready/undefined.so" "$bad"
expect "27 an undefined function" refused bad "$bad" "undefined symbol: nobody_defines_this" "-z,defs"
clear
stub 'extern int nobody_has; int *variant(void); int *variant(void) { return &nobody_has; }' |
	builds "$bad"
expect "28 undefined data" refused bad "$bad" "undefined symbol: nobody_has"
clear
printf '__attribute__((visibility("default"))) int needed(void) { return 1; }' | builds "$work/aside/libneeded.so" -Wl,-soname,libneeded.so
stub 'int needed(void); int variant(void); int variant(void) { return needed(); }' |
	builds "$bad" -L"$work/aside" -lneeded
rm "$work/aside/libneeded.so"
expect "29 a library that is not there" refused bad "$bad" "needs libneeded.so, which is not installed" \
	"LD_LIBRARY_PATH"
clear
echo 'V1 { global: versioned; };' >"$work/aside/one.map"
echo 'V2 { global: versioned; };' >"$work/aside/two.map"
printf '__attribute__((visibility("default"))) int versioned(void) { return 1; }' |
	builds "$work/aside/libversioned.so" -Wl,-soname,libversioned.so -Wl,--version-script="$work/aside/two.map"
stub 'int versioned(void); int variant(void); int variant(void) { return versioned(); }' |
	builds "$bad" -L"$work/aside" -lversioned -Wl,-rpath,"$work/aside"
printf '__attribute__((visibility("default"))) int versioned(void) { return 1; }' |
	builds "$work/aside/libversioned.so" -Wl,-soname,libversioned.so -Wl,--version-script="$work/aside/one.map"
expect "30 a version that is not there" refused bad "$bad" "V2"
clear
cp "$ready/no_factory.so" "$bad"
expect "31 no factory" refused bad "$bad" "exports no parloop_backend_v1" "define it in the source"
clear
cp "$ready/other_factory.so" "$bad"
expect "31 another parloop's" refused bad "$bad" "has parloop_backend_v2: built for another parloop"
clear
echo 'Q { global: parloop_backend_v1; };' >"$work/aside/q.map"
stub | grep -v PAR_PLUGIN | builds "$work/aside/libowner.so" -Wl,-soname,libowner.so
printf '%s\n' '#include "stub.h"' 'PAR_PLUGIN(PAR_BACKEND("bad", "of a test"))' \
	'const void *use(void); const void *use(void) { return (const void *)parloop_backend_v1(0, 0); }' |
	builds "$bad" -L"$work/aside" -lowner -Wl,-rpath,"$work/aside"
expect "32 a factory of a library's" refused bad "$bad" "exports no parloop_backend_v1"
for kind in data_factory ifunc_factory; do
	clear
	cp "$ready/$kind.so" "$bad"
	expect "33, 34 $kind" refused bad "$bad" "its parloop_backend_v1 is not a function"
done

# --- what its table says -----------------------------------------------------------------------

clear
stub | sed 's/return &stub_ops/return 0/' | builds "$bad"
expect "35 no table" refused bad "$bad" 'answers NULL for it'
clear
cp "$ready/tables.so" "$bad"
configured
for backend in "size-0|size 0," "size-24|size 24," "size-181|size 181," "size-huge|size 2147483647," \
	"abi-0|ABI 0.0" "abi-2|ABI 2.0"; do
	expect "36 ${backend%|*}" refused "${backend%|*}" "$bad" "${backend#*|}"
done
expect "37 a longer one" refused newer "for the loader's tests only"
clear
stub 'static par_backend_ops shorter;' | sed 's/return &stub_ops/shorter = stub_ops; shorter.size = 160; return \&shorter/' |
	builds "$bad"
expect "38 a shorter one than any ever was" refused bad "$bad" "ABI 1.0 has 176"
clear
cp "$ready/lacks.so" "$bad"
configured
for function in create destroy; do
	expect "39 without $function" refused "no-$function" "$bad" "has no $function, which is required"
done
expect "39 without effective_n_jobs" refused no-jobs "$bad" "has no effective_n_jobs"
expect "39 without submit" refused no-submit "$bad" "has no submit"

# --- what loading it does ----------------------------------------------------------------------

# Each of them counts how often it is loaded.
constructor() { # constructor STATEMENTS ...
	stub '#include <unistd.h>' '__attribute__((constructor)) static void construct(void) {' \
		"FILE *f = fopen(\"$work/loads\", \"a\"); fputs(\"x\\n\", f); fclose(f);" "$@" '}'
}
loads() { # loads N: so often until now
	[ "$(wc -l <"$work/loads")" = "$1" ]
}
: >"$work/loads"
clear
constructor 'abort();' | builds "$bad"
expect "40 a constructor that aborts" refused bad "$bad" "it crashes while it is loaded (SIGABRT)" \
	"parloop check $bad"
expect "40 which is tried again the next time" refused bad "it crashes while it is loaded"
expect "40 each time in a process of its own" loads 2
clear
constructor '*(volatile int *)8 = 1;' | builds "$bad"
if [ -z "$SAN" ]; then
	expect "40 one that writes to nowhere" refused bad "$bad" "it crashes while it is loaded (SIGSEGV)"
fi
clear
constructor 'for (;;) pause();' | builds "$bad"
expect "41 one that hangs" refused bad "$bad" "it has not finished loading after 5 s"
clear
constructor 'exit(0);' | builds "$bad"
expect "42 one that ends the process" refused bad "$bad" \
	"it ends the process while it is loaded, with status 0"
clear
stub | sed 's/(void)host, (void)name;/abort();/' | builds "$bad"
expect "44 a factory that aborts" refused bad "$bad" "it crashes while it is loaded (SIGABRT)"
clear
constructor 'pid_t pid = fork(); if (pid == 0) for (;;) pause();' \
	"f = fopen(\"$work/pid\", \"w\"); fprintf(f, \"%d\", pid); fclose(f); _exit(7);" | builds "$bad"
expect "42 one that leaves a process behind, which has all that it had" refused bad "$bad" \
	"it ends the process while it is loaded, with status 7"
is_gone() { # soon, and it may be nobody's to bury
	moments=100
	while grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$(cat "$work/pid")/status"; do
		[ $((moments -= 1)) -gt 0 ] || return 1
		sleep 0.1
	done
}
expect "42 which ends, too" is_gone
clear
constructor '#include <stdio.h>' 'closefrom(3); for (;;) pause();' | builds "$bad" -D_GNU_SOURCE
expect "41 one that closes everything and hangs" refused bad "$bad" "it has not finished loading after 5 s"
clear
if command -v g++ >/dev/null; then
	printf 'extern "C" void throws() { throw 1; }\n' >"$work/throws.cc"
	g++ $SANFLAGS -fPIC -c "$work/throws.cc" -o "$work/throws.o"
	constructor 'extern void throws(void); throws();' | builds "$bad" "$work/throws.o" -lstdc++
	expect "44 a C++ exception out of a constructor" refused bad "$bad" \
		"it crashes while it is loaded (SIGABRT)"
	clear
	{
		echo 'void throws(void);'
		stub | sed 's/(void)host, (void)name;/throws();/'
	} | builds "$bad" "$work/throws.o" -lstdc++
	expect "44 and out of a factory" refused bad "$bad" "it crashes while it is loaded (SIGABRT)"
else
	skip "44 a C++ exception" "there is no g++"
fi
clear
: >"$work/loads"
constructor ';' | builds "$bad"
expect "a good one is loaded twice the first time" refused bad "for the loader's tests only"
expect "once in a process of its own" loads 2
expect "and once" refused bad "for the loader's tests only"
expect "from then on" loads 3
touch -d '1 hour ago' "$bad"
expect "until it changes" refused bad "for the loader's tests only"
expect "when it is seen anew" loads 5
expect "what was seen lies in a file of the user's" grep -q . "$work/cache/parloop/probed"
configured "probe = always" "[backend bad]" "path = $bad"
expect "with probe = always it is" refused bad "for the loader's tests only"
expect "seen anew each time" loads 7
sed -i 's/ [^ ]*$/ 0.0.1/' "$work/cache/parloop/probed"
configured "[backend bad]" "path = $bad"
expect "what another version of parloop saw counts for nothing" refused bad "for the loader's tests only"
expect "either" loads 9
cp -p "$bad" "$work/aside/copy.so"
mv "$work/aside/copy.so" "$bad"
expect "nor what was seen of a file of the same size and time" refused bad "for the loader's tests only"
expect "that lay there before" loads 11
clear
constructor 'puts("hello");' | builds "$bad"
: >"$work/loads"
configured "[backend bad]" "path = $bad"
runs bad >"$work/out"
expect "43 of what it prints when it is probed nothing is seen" \
	sh -c "[ \$(wc -l <'$work/loads') = 2 ] && [ \$(grep -cx hello '$work/out') = 1 ]"
rm -f "$work/cache/parloop/probed"
runs sequential >/dev/null
expect "what came with parloop is not probed" test ! -e "$work/cache/parloop/probed"
clear
constructor 'puts("hello");' | builds "$bad"
configured "probe = never" "[backend bad]" "path = $bad"
: >"$work/loads"
runs bad >"$work/out"
expect "with probe = never it is not" loads 1
expect "43 and prints where the results go" grep -x hello "$work/out"
configured "probe = sometimes"
expect "there is no other" refused good "auto, always or never"
clear
stub 'static void nothing(void) { }' \
	'__attribute__((constructor)) static void leave(void) { atexit(nothing); }' | builds "$bad"
expect "46 something to be called at exit" refused bad "for the loader's tests only"
clear
stub '#include <pthread.h>' '#include <signal.h>' 'static pthread_key_t key;' \
	'static void nothing(void) { } static void forget(void *p) { (void)p; }' \
	'static void heard(int n) { (void)n; }' \
	'__attribute__((constructor)) static void leave(void) {' \
	'pthread_key_create(&key, forget); pthread_setspecific(key, &key);' \
	'pthread_atfork(nothing, nothing, nothing); signal(SIGUSR1, heard); }' | builds "$bad" -pthread
expect "46 a thread's key, a signal handler, and what is called when it forks" \
	refused bad "for the loader's tests only"
clear
stub '#include <pthread.h>' '#include <unistd.h>' \
	'static void *wait_long(void *arg) { sleep(100); return arg; }' \
	'__attribute__((constructor)) static void start(void) {' \
	'pthread_t t; pthread_create(&t, 0, wait_long, 0); }' | builds "$bad" -pthread
expect "45 a thread that nobody asked for" refused bad "for the loader's tests only"
clear
cp "$ready/big_tls.so" "$bad"
expect "47 much static thread storage" refused bad "$bad" "static TLS" "-ftls-model=global-dynamic"
clear
cp "$ready/exec_stack.so" "$bad"
expect "48 an executable stack" refused bad "$bad" "executable stack" "noexecstack"
clear
cp "$ready/nodlopen.so" "$bad"
expect "49 not to be loaded" refused bad "$bad" "cannot be dlopen()ed"
if [ "$(uname -m)" = x86_64 ]; then
	clear
	cp "$ready/fast_math.so" "$bad"
	configured
	expect "50 another rounding" refused fast "$bad changed how this program rounds" "-ffast-math"
fi

# --- which file it is --------------------------------------------------------------------------

clear
ln "$work/plugins/good.so" "$work/plugins/other.so"
configured
expect "52 one file with two names" accepted good
clear
ln -s good.so "$work/plugins/other.so"
configured
expect "52 or a symbolic link to it" accepted good
runs good >/dev/null
expect "52 is no second one" sh -c "! grep -F 'is offered by' '$work/said'"
clear
configured "[backend good]" "path = $work/plugins/././good.so"
expect "52 or another way to it" accepted good
clear
cp "$work/plugins/good.so" "$work/plugins/other.so"
configured
expect "53 two files with one backend" accepted good
runs good >/dev/null
expect "53 the second is told" grep -F "$work/plugins/other.so" "$work/said"
clear
stub | builds "$bad" -Wl,-soname,same.so
stub | sed 's/"bad"/"other"/' | builds "$work/plugins/other.so" -Wl,-soname,same.so
configured
expect "54 two files with one SONAME" refused bad "for the loader's tests only"
expect "54 and the other" refused other "for the loader's tests only"
clear
for one in bad other; do
	stub "__attribute__((visibility(\"default\"))) int common(char *text);" \
		"int common(char *text) { return sprintf(text, \"of $one\"); }" \
		'static int32_t tell(const par_host *h, const par_options *o, int32_t l, int32_t i,' \
		'par_backend **b, par_error *e) { char text[20]; (void)h, (void)o, (void)l, (void)i, (void)b;' \
		'common(text); return par_fail(e, PAR_EUNAVAIL, "common() is %s", text); }' |
		sed "s/\"bad\"/\"$one\"/; s/return &stub_ops/static par_backend_ops ops; ops = stub_ops; ops.create = tell; return \&ops/" |
		builds "$work/plugins/$one.so"
done
configured
expect "55 two files with one name inside" refused bad "common() is of bad"
expect "55 and the other" refused other "common() is of other"
both() { # in one process, the other one after it
	cat >"$work/both.c" <<-'C'
		#include <parloop/parloop.h>
		int common(char *text);
		int common(char *text) { return sprintf(text, "of the program"); }
		int main(void)
		{
			const char *names[] = {"bad", "other"};
			for (int i = 0; i < 2; i++) {
				par_error error = PAR_ERROR_INIT;
				par_parallel *pool;
				par_open(&pool, PAR_SETTINGS(.backend = names[i]), &error);
				puts(error.reason);
			}
			return 0;
		}
	C
	$CC $SANFLAGS -Iinclude "$work/both.c" -L"$O" -lparloop -Wl,-rpath,"$PWD/$O" -o "$work/both" &&
		printf 'common() is of %s\n' bad other >"$work/expected" &&
		"$work/both" | same "$work/expected" -
}
expect "55 and both, in a program that has the name as well" both
clear
configured
for name in ../evil /abs "" abcdefghijklmnopqrstuvwxyzabcdefg Upper "new
line"; do
	expect "56 the name \"$name\"" refused "$name" "a backend's name is [a-z]"
done
clear
configured "[backend bad]" 'path = $ORIGIN/bad.so'
expect "57 a path that the loader would change" refused bad 'it has a "$"'
clear
cp "$ready/slow.so" "$work/parloop/slow.so"
configured "[backend slow]" 'path = slow.so'
expect "57 a path from the folder of plugins.conf" refused slow "for the loader's tests only"
clear
configured "[backend bad]" "path = $(head -c 3900 /dev/zero | tr '\0' x).so"
expect "57 a path that is too long" refused bad "File name too long"
clear
cp "$work/whole.so" "$bad"
chmod 666 "$bad"
configured "[backend good]" "path = $bad"
runs good >/dev/null
expect "58 a file that anybody may write" grep -F "chmod o-w" "$work/said"
clear
mkdir "$work/aside/open"
cp "$work/whole.so" "$work/aside/open/x.so"
chmod 777 "$work/aside/open"
configured "[backend good]" "path = $work/aside/open/x.so"
runs good >/dev/null
expect "58 in a folder that anybody may write" grep -F "chmod o-w $work/aside/open" "$work/said"

clear
mkdir "$work/aside/noexec"
cp "$work/whole.so" "$work/aside/whole.so"
noexec() { # a namespace of its own has the file system, and takes it away when it ends
	timeout 60 unshare -rm sh -c '
		mount -t tmpfs -o noexec none "$1" && cp "$2" "$1/good.so" && chmod 755 "$1" || exit 77
		shift 2; exec "$@"' sh "$work/aside/noexec" "$work/aside/whole.so" "$@"
}
configured "[backend good]" "path = $work/aside/noexec/good.so"
if noexec true >/dev/null 2>&1; then
	noexec "$O/parloop" map -b good "$O/tasks/demo.so:upper" ::: word >"$work/out" 2>"$work/said"
	expect "51 on a file system mounted noexec" grep -F "is it on a file system mounted noexec?" "$work/said"
else
	skip "51 on a file system mounted noexec" "no file system can be mounted here"
fi

# --- what it does ------------------------------------------------------------------------------

variant() { # variant SYMBOL: of those that break a rule
	builds "$work/plugins/variant.so" -DBREAKS_$1 -pthread <tests/check/variant.c
}
goes_on() { # goes_on [WORDS]: it is taken as well as can be, and told
	PARLOOP_LOG=debug runs variant >"$work/out"
	cat "$work/out" "$work/said"
	[ "$(cat "$work/out")" = WORD ] && { [ $# = 0 ] || grep -qF -e "$1" "$work/said"; } && others_load
}
clear
configured
variant B2
expect "64 a batch that never comes back ends with the call's time" sh -c "
	timeout 60 '$O/parloop' map --call-timeout 1 -b variant -j 2 --batch-size 1 '$O/tasks/demo.so:upper' \
		::: $(seq -s ' ' 1 3000) >/dev/null 2>'$work/said'
	status=\$?
	[ \$status = 1 ] || [ \$status = 0 ]"
variant B3
expect "64 one that comes back twice is told" goes_on "done() of a batch that is not out"
variant B3_STRANGER
expect "64 so is one that never was" goes_on "done() of a batch that is not out"
variant B15
expect "65 batches of no task have one" goes_on
variant C3
negative() {
	timeout 20 "$O/parloop" map -j -1000 -b variant "$O/tasks/demo.so:upper" ::: word \
		>"$work/out" 2>"$work/said"
	cat "$work/out" "$work/said"
	[ "$(cat "$work/out")" = WORD ] && grep -F "is taken for 1 (rule C3)" "$work/said"
}
expect "65 a negative number of jobs is 1, and told with its rule" negative
rm -f "$work/plugins/variant.so"

# --- what it is asked --------------------------------------------------------------------------

for wrong in "cuont = 1|did you mean \"count\"" "count = many|count" "count = 11|1..10" \
	"mode = medium|slow|fast"; do
	clear
	configured "[backend good]" "${wrong%%|*}"
	runs good >"$work/out"
	expect "62 ${wrong%%|*}" grep -F -e "${wrong#*|}" "$work/said"
	expect "62 and says where" grep -F "plugins.conf:4" "$work/said"
done
clear
configured "[backend good]" "count = 1" "count = 2"
runs good >"$work/out"
expect "62 given twice" grep -F "plugins.conf:5" "$work/said"
clear
configured "[lazy]" "absent = absent.so" "named = good.so"
expect "63 a lazy one that is not there" refused absent "absent.so" "known but not installed"
expect "63 a lazy one whose file has not got it" refused named "good.so" '"good"'
summary
