# The promise of 1.x.  What was built for an earlier minor runs with this one: its headers, and
# sources of that time, stand in tests/abi/MINOR.  What is built for a later one runs as well, and so
# does what we build today with a later core: such a one is made here, by growing all that may grow.
. tests/shell.sh
export PARLOOP_CONF="$work/plugins.conf"
: >"$PARLOOP_CONF"

minors=$(cd tests/abi && ls -d [0-9]*.[0-9]*)
refused() {
	! "$@"
}

# --- headers ----------------------------------------------------------------------------------

promise_of() { # promise_of MINOR: as C
	was=tests/abi/$1
	for header in "$was"/parloop/*.h; do
		echo "#include <parloop/${header##*/}>"
	done | $CC -std=c11 -E -I"$was" -x c - >"$work/preprocessed" &&
		awk -v was="$was/" -f tests/abi/promise.awk "$work/preprocessed" "$was"/parloop/*.h
}
keeps() { # keeps MINOR FOLDER: its headers
	$CC -std=c11 -fsyntax-only -I"$2" "$work/promise-$1.c"
}

# Nothing that is public may be missing from what is compared.
compares_all() { # compares_all MINOR
	cat tests/abi/"$1"/parloop/*.h | tr '\n' ' ' | grep -oE 'PAR_API [^;{(]*[ *]par_[a-z_]+\(' |
		grep -oE 'par_[a-z_]+\($' | tr -d '(' | sort -u >"$work/functions"
	cat tests/abi/"$1"/parloop/*.h | grep -oE '^(typedef )?struct par_[a-z_]+ \{' |
		grep -oE 'par_[a-z_]+' | sort -u >"$work/structs"
	cat tests/abi/"$1"/parloop/*.h | grep -oE '^[[:space:]]+PAR_[A-Z_]+ = |enum \{ PAR_[A-Z_]+' |
		grep -oE 'PAR_[A-Z_]+' | sort -u >"$work/constants"
	[ "$(wc -l <"$work/functions")" -ge 40 ] && [ "$(wc -l <"$work/structs")" -ge 20 ] &&
		[ "$(wc -l <"$work/constants")" -ge 40 ] || return
	while read -r name; do
		grep -qE "[ *]$name\(" "$work/promise-$1.c" || { echo "$name is not"; return 1; }
	done <"$work/functions"
	while read -r name; do
		grep -qE "^(MAY_GROW|IS_FIXED)\($name\)" "$work/promise-$1.c" || { echo "$name is not"; return 1; }
	done <"$work/structs"
	while read -r name; do
		grep -q "^_Static_assert($name ==" "$work/promise-$1.c" || { echo "$name is not"; return 1; }
	done <"$work/constants"
}

changed() { # changed FILE SCRIPT: headers with that change, of which something must come
	rm -rf "$work/changed"
	cp -r include "$work/changed"
	sed "$2" "include/parloop/$1" >"$work/changed/parloop/$1"
	! cmp -s "include/parloop/$1" "$work/changed/parloop/$1"
}
breaks() { # breaks FILE SCRIPT
	changed "$1" "$2" && refused keeps "$newest" "$work/changed"
}
is_fine() { # is_fine FILE SCRIPT
	changed "$1" "$2" && keeps "$newest" "$work/changed"
}

# As of today: what is in neither place can change without being seen.
has_its_layout() {
	sed -n 's/^MEMBER(\(.*\), \(.*\))$/AT(\1, \2,/p; s/^[A-Z]*_[A-Z]*(\(par_[a-z_]*\))$/SIZE(\1,/p' \
		"$work/promise-$1.c" >"$work/members"
	[ "$(wc -l <"$work/members")" -gt 300 ] || return
	while read -r words; do
		grep -qF "$words" core/abi.c || { echo "$words is not in core/abi.c"; return 1; }
	done <"$work/members"
}

for minor in $minors; do
	promise_of "$minor" >"$work/promise-$minor.c"
	expect "all that was public in $minor is compared" compares_all "$minor"
	expect "the headers keep what those of $minor promised" keeps "$minor" include
	newest=$minor
done
expect "core/abi.c has the place of every field" has_its_layout "$newest"
expect "a field in between is seen" breaks backend.h 's/^\tint32_t core_share;/\tint32_t more;\n&/'
expect "a field that is gone is seen" breaks parloop.h '/^\tconst char \*mmap_mode;/d'
expect "a field of another name is seen" breaks backend.h 's/int32_t holds;/int32_t most;/'
expect "a field of another type is seen" breaks backend.h 's/uint32_t capabilities;/int32_t capabilities;/'
expect "two that changed places are seen" \
	breaks parloop.h 's/^\tint32_t order;/\tint32_t swap;/; s/^\tint32_t on_error;/\tint32_t order;/; s/int32_t swap;/int32_t on_error;/'
expect "another parameter of an operation is seen" \
	breaks backend.h 's/(\*stop_call)(par_backend \*backend)/(*stop_call)(par_backend *backend, int32_t why)/'
expect "a struct without a size that grew is seen" \
	breaks worker.h 's/^\tuint64_t size;       .*/&\n\tuint64_t more;/'
expect "a constant of another value is seen" breaks error.h 's/PAR_ELOST = -11/PAR_ELOST = -13/'
expect "so is one that is gone" breaks backend.h 's/PAR_RERUNS = /PAR_REPEATS = /'
expect "another parameter of a function is seen" \
	breaks parloop.h 's/par_close(par_parallel \*parallel)/par_close(par_parallel *parallel, int32_t now)/'
expect "a function that is gone is seen" breaks parloop.h 's/par_iter_next/par_iter_more/'
expect "another type of function is seen" breaks parloop.h 's/^typedef int32_t (\*par_sink_fn)/typedef void (*par_sink_fn)/'
expect "another id of a service is seen" breaks backend.h 's|"parloop.timer/1"|"parloop.timer/2"|'
expect "a macro that is gone is seen" breaks task.h 's/PAR_TASK_OF_BYTES/PAR_TASK_BYTEWISE/'
expect "a field at the end is none of that" \
	is_fine backend.h 's/^\tint32_t is_nested; .*/&\n\tint64_t later;/'
expect "nor is a further constant" is_fine error.h 's/PAR_ESOURCE = -12/PAR_ESOURCE = -12, PAR_ELATER = -13/'
expect "nor is a further function" is_fine parloop.h 's/^PAR_API void par_close(/PAR_API void par_later(void);\n&/'
expect "nor is another word for a parameter" is_fine parloop.h 's/par_close(par_parallel \*parallel)/par_close(par_parallel *pool)/'

# Functions that are not in the newest minor's headers are of the next, and of its node.
marked_with_their_minor() {
	cat tests/abi/*/parloop/*.h | tr '\n' ' ' | grep -oE 'PAR_API [^;{(]*[ *]par_[a-z_]+\(' |
		grep -oE 'par_[a-z_]+\($' | tr -d '(' | sort -u >"$work/known"
	nm -D --defined-only --with-symbol-versions "$O/libparloop.so" |
		sed -n 's/.* \(par_[a-z_]*\)@@PARLOOP_1$/\1/p' | sort >"$work/marked"
	same "$work/known" "$work/marked"
}
if [ "$minors" = 1.0 ]; then
	expect "the functions of 1.0 are marked with PARLOOP_1, and no others are" marked_with_their_minor
fi

# --- the library ------------------------------------------------------------------------------

# 4: something is different, 8: and programs may notice.
compares() { # compares DESCRIPTION FLAG ...: with the library
	description=$1
	shift
	abidiff --no-architecture --suppressions tests/abi/abidiff.suppr "$@" "$description" "$O/libparloop.so"
}
as_described() { # as_described DESCRIPTION
	compares "$1" --no-added-syms && compares "$1" && return
	echo "If that is meant, and what is in tests/abi is still kept, it is of a new minor:"
	echo "    make && sh tests/abi/archive.sh $("$O/parloop" --version | sed 's/.* \([0-9]*\.[0-9]*\).*/\1/')"
	return 1
}
differs() { # differs SED STATUS FLAG ...: from a description of that kind
	sed "$1" "tests/abi/$newest/libparloop.abi" >"$work/other.abi"
	status=$2
	shift 2
	! cmp -s "tests/abi/$newest/libparloop.abi" "$work/other.abi" || return
	compares "$work/other.abi" "$@"
	[ $? = "$status" ]
}
without="/function-decl name=.par_close./,/<.function-decl>/d; /elf-symbol name=.par_close./d"
if [ -n "$SAN" ]; then
	skip "what leaves libparloop.so is as it was described" "the pass without sanitizers has it"
elif ! command -v abidiff >/dev/null; then
	skip "what leaves libparloop.so is as it was described" "no abidiff here (Debian's abigail-tools)"
elif ! readelf -S "$O/libparloop.so" | grep -q debug_info; then
	skip "what leaves libparloop.so is as it was described" "it was built without -g"
else
	for minor in $minors; do
		expect "libparloop.so has all that it had in $minor" \
			compares "tests/abi/$minor/libparloop.abi" --no-added-syms
	done
	expect "what leaves libparloop.so is as it was described" \
		as_described "tests/abi/$newest/libparloop.abi"
	expect "a function that is gone would be seen" differs "s/par_close'/par_end'/g" 12 --no-added-syms
	expect "so would a field in another place" \
		differs "/name='order'/s/order/placed/; s/name='on_error'/name='order'/" 4 --no-added-syms
	expect "so would a parameter of another type" \
		differs "/name='par_n_jobs'/,/parameter/s/parameter type-id='[^']*'/parameter type-id='3ff5601b'/" \
		4 --no-added-syms
	expect "a further function is none of that" differs "$without" 0 --no-added-syms
	expect "but has to be described" differs "$without" 4
fi

# --- sources of earlier minors ------------------------------------------------------------------

if [ -n "$SAN" ]; then
	skip "what was built for earlier and later minors runs" "the pass without sanitizers has it"
	summary
fi

plugin() { # plugin SOURCE ... -o FILE FLAG ...: with the flags of parloop.pc
	$CC -std=c11 -D_GNU_SOURCE -O1 -w -fPIC -fvisibility=hidden -shared -Wl,-z,defs "$@" -pthread
}
program() { # program FOLDER SOURCE FILE: of those headers
	$CC -std=gnu11 -O1 -w -I"$1" "$2" -o "$3" -L"$O" -lparloop
}
keeps_rules() { # keeps_rules FILE RULE ...; none: all
	file=$1
	shift
	timeout 250 "$O/parloop" check $(printf ' --only %s' "$@" | sed 's/ --only $//') "$file" >"$work/said"
	status=$?
	cat "$work/said"
	[ "$status" = 0 ] && tail -n 1 "$work/said" | grep -q ', 0 broken$'
}
runs_program() { # runs_program FILE TASKS BACKEND
	LD_LIBRARY_PATH=$library timeout 60 "$1" "$3" "$2"
}
cannot() { # cannot WORDS COMMAND ...
	words=$1
	shift
	"$@" >"$work/said" 2>&1
	status=$?
	cat "$work/said"
	[ "$status" != 0 ] && grep -qF "$words" "$work/said"
}
maps_on() { # maps_on BACKEND FOLDER
	PARLOOP_PLUGIN_DIR=$2 timeout 60 "$O/parloop" map -b "$1" -j 2 "$O/tasks/demo.so:upper" ::: no other
}
library=$O

for minor in $minors; do
	was=tests/abi/$minor mine=$work/$minor
	mkdir "$mine"
	expect "$minor: a plugin is built" plugin -I"$was" "$was/threads.c" -o "$mine/threads.so"
	expect "$minor: it keeps all rules" keeps_rules "$mine/threads.so"
	expect "$minor: one in C++ is built" ${CXX:-g++} -std=c++17 -O1 -fPIC -fvisibility=hidden -shared \
		-I"$was" "$was/queue.cc" -pthread -o "$mine/queue.so"
	expect "$minor: it keeps what there is about headers" keeps_rules "$mine/queue.so" L1 C7 C8 C10 C11 B1
	expect "$minor: one with worker processes is built" plugin -I"$was" "$was/forked.c" -o "$mine/forked.so"
	expect "$minor: it keeps them too" keeps_rules "$mine/forked.so" L1 C7 C8 C10 C11 B1 B10 B11
	expect "$minor: a task module is built" plugin -I"$was" "$was/tasks.c" -o "$mine/tasks.so"
	expect "$minor: a program is built" program "$was" "$was/program.c" "$mine/program"
	for backend in threading loky sequential; do
		expect "$minor: it runs on $backend" runs_program "$mine/program" "$mine/tasks.so" $backend
	done
done

# --- a later minor ------------------------------------------------------------------------------

later=$work/later
mkdir -p "$later/parloop" "$later/core" "$later/plugins"
for header in include/parloop/*.h; do
	awk -f tests/abi/grow.awk "$header" >"$later/parloop/${header##*/}"
done
expect "a later minor has longer structs" keeps "$newest" "$later"
expect "and there it can be seen that they are" \
	sh -c "diff include/parloop/backend.h $later/parloop/backend.h | grep -c later | grep -x 14"

# A plugin that has a use for the later core, and does without.
sed 's/^\t(\*backend)->host = host;$/&\n\tif (PAR_HAS(host, later))\n\t\treturn par_fail(error, PAR_EUNAVAIL, "this core is later");/' \
	"tests/abi/$newest/threads.c" >"$later/threads.c"
expect "a plugin of a later minor is built" plugin -I"$later" "$later/threads.c" -o "$later/plugins/threads.so"
expect "it has nothing later to use here, and works" maps_on threads "$later/plugins"
expect "and keeps the rules" keeps_rules "$later/plugins/threads.so" L1 C7 C8 C11 B1
expect "one that cannot do without is built" \
	plugin -DPAR_NEEDS_MINOR=9 -I"$later" "$later/threads.c" -o "$later/needs.so"
expect "it is told which it needs, and which this is" \
	cannot "needs ABI 1.9, this parloop $("$O/parloop" --version | sed 's/.* //') offers 1.0" \
	"$O/parloop" check "$later/needs.so"
for name in sequential threading; do
	expect "$name of a later minor is built" plugin -I"$later" plugins/$name.c -o "$later/plugins/$name.so"
	expect "it works with this core too" keeps_rules "$later/plugins/$name.so" L1 C7 C8 C10 C11 B1
done
expect "worker processes of a later minor are built" \
	plugin -I"$later" plugins/processes/*.c -o "$later/plugins/processes.so"
expect "they work with this core too" keeps_rules "$later/plugins/processes.so" L1 C7 C8 C10 C11 B1 B10
expect "a task module of a later minor is built" \
	plugin -I"$later" "tests/abi/$newest/tasks.c" -o "$later/tasks.so"
expect "a program of a later minor is built" program "$later" "tests/abi/$newest/program.c" "$later/program"
for backend in threading loky; do
	expect "it runs on $backend of this core" runs_program "$later/program" "$later/tasks.so" $backend
done

# What is promised of offsets holds there as well, but the sizes of 1.0 do not.
sed '/^SIZE(/d' core/abi.c >"$later/core/abi.c"
object_of() {
	for source in core/*.c; do
		[ "$source" = core/abi.c ] && echo "$later/core/abi.c" || echo "$source"
	done
}
builds_core() {
	pids=
	for half in 0 1; do
		object_of | awk "NR % 2 == $half" | while read -r source; do
			$CC -std=c11 -D_GNU_SOURCE -O0 -w -fPIC -fvisibility=hidden -pthread -I"$later" -Icore \
				-DPAR_CHECKOUT="\"$PWD\"" -DPAR_PLUGINS="\"$PWD/$PLUGINS\"" -DPAR_BUILD="\"$PWD/$O\"" \
				-c "$source" -o "$later/core/$(basename "$source" .c).o" || exit
		done &
		pids="$pids $!"
	done
	for pid in $pids; do
		wait "$pid" || return
	done
	$CC -shared -Wl,-soname,libparloop.so.1 -Wl,--version-script=core/parloop.map "$later"/core/*.o \
		-luv -linih -lmd -ldl -lpthread -o "$later/libparloop.so.1"
}
expect "a later core is built" builds_core
library=$later
export LD_LIBRARY_PATH="$later"
expect "it is what is used from here on" cannot "this core is later" maps_on threads "$later/plugins"
for name in sequential threading processes; do
	expect "our $name works with a later core" keeps_rules "$PLUGINS/$name.so" L1 C7 C8 C10 C11 B1
done
for minor in $minors; do
	expect "a plugin of $minor works with it" keeps_rules "$work/$minor/threads.so" L1 C7 C8 C10 C11 B1
	for backend in threading loky sequential; do
		expect "a program of $minor runs on its $backend" \
			runs_program "$work/$minor/program" "$work/$minor/tasks.so" $backend
	done
done
unset LD_LIBRARY_PATH
summary
