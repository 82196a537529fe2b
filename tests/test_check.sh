# parloop check: every backend of ours keeps the rules; and for each rule a plugin that breaks it,
# and nothing else, is told so in the right words.
. tests/shell.sh
export PARLOOP_CONF="$work/plugins.conf" O CC SANFLAGS work
: >"$PARLOOP_CONF"

# --- ours keep them ---------------------------------------------------------------------------

keeps_all() { # keeps_all FILE, or --fuzz SEED N FILE
	timeout 200 "$O/parloop" check "$@" >"$work/said"
	status=$?
	cat "$work/said"
	[ "$status" = 0 ] && tail -n 1 "$work/said" | grep -q ', 0 broken$'
}
builds() { # builds OUT FLAG ...: the plugin that breaks no rule, or one
	out=$1
	shift
	$CC $SANFLAGS -std=gnu11 -g -fPIC -fvisibility=hidden -Iinclude -shared tests/check/variant.c \
		-pthread "$@" -o "$out"
}
expect "a plugin that breaks no rule is built" builds "$work/good.so"
expect "it keeps all" keeps_all "$work/good.so"
seeds="1 2"
[ -z "$SAN" ] || seeds=1

# Engines are to be had where test_dask.sh and test_ray.sh have started one; here is seen what their
# file is, and that it can be loaded.
file_rules=$("$O/parloop" check --list | sed -n 's/^\([FL][0-9]*\) .*/--only \1/p')

# Each MPI that there is; root is to say that he means it.
of_mpi() { # of_mpi OPENMPI_OR_MPICH WHAT ...: its process is $!
	mpi=$1
	shift
	OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
		timeout 240 "$O/parloop" check -o "mpi=$mpi" "$@" >"$work/$mpi" 2>&1 &
}
keeps_all_on() { # keeps_all_on OPENMPI_OR_MPICH PROCESS: of which of_mpi made that
	wait "$2"
	status=$?
	cat "$work/$1"
	[ "$status" = 0 ] && tail -n 1 "$work/$1" | grep -q ', 0 broken$'
}
on_mpis() { # on_mpis "what holds" WHAT ...
	holds=$1 of_openmpi= of_mpich=
	shift
	for mpi in openmpi mpich; do
		if [ -x "$O/parloop-mpi-relay.$mpi" ]; then
			of_mpi "$mpi" "$@" "$PLUGINS/mpi.so"
			eval "of_$mpi=$!"
		else
			skip "mpi $holds on $mpi" "there is no relay for it: no such MPI here, or a sanitizer"
		fi
	done
	[ -z "$of_openmpi" ] || expect "mpi $holds on openmpi" keeps_all_on openmpi "$of_openmpi"
	[ -z "$of_mpich" ] || expect "mpi $holds on mpich" keeps_all_on mpich "$of_mpich"
}

for plugin in "$PLUGINS"/*.so; do
	case $plugin in
	*/engines.so)
		expect "engines.so is a file that can be loaded" keeps_all $file_rules "$plugin"
		continue
		;;
	*/mpi.so)
		on_mpis "keeps all rules"
		on_mpis "bears random steps" --fuzz 1 40
		continue
		;;
	esac
	expect "${plugin##*/} keeps all rules" keeps_all "$plugin"
	for seed in $seeds; do
		expect "${plugin##*/} bears random steps of seed $seed" keeps_all --fuzz "$seed" 100 "$plugin"
	done
done
if [ -n "$SAN" ]; then
	skip "each rule can be broken" "a sanitizer sees many a crash first, and ends in its own way"
	summary
fi

# --- each rule can be broken ------------------------------------------------------------------

# SYMBOL of -DBREAKS_SYMBOL | status of its rule | words | linked with | the rules to try, where
# all would take their time, as each waits for the same
cat >"$work/table" <<'END'
F1|fail|has two notes||
F2|warn|the name variant_helper too||
F3|fail|DT_TEXTREL|-Wl,-z,notext|
F4|warn|in /home/somebody/lib, which|-Wl,-rpath,/home/somebody/lib|
F5|warn|static thread storage||
F6|fail|linked with libparloop.so.1|-Wl,--no-as-needed -L$O -lparloop|
L1|fail|answers NULL for it||
L1_CRASH|crash|it crashes: SIGABRT||
L1_EXIT|crash|it ends the process, with status 0||
L1_HANG|hang|after 5 s||
L2|warn|to load it takes||
L3|fail|prints "hello, I am a plugin"||
L4|fail|once it is loaded there is: thread||
L5|fail|once it is loaded there is: descriptor||
L6|fail|disposition of signal 10 (USR1): a handler||
L7|fail|umask 0000||
C1|fail|has an answer for "nonesuch"||
C2|fail|another table the second time||
C3|fail|effective_n_jobs(-1000) is -1000||
C4|fail|has an answer for "com.example.nonesuch/1"||
C5|fail|asks for "nonesuch", which its note does not declare||
C5_TYPE|fail|asks for "label", which is declared as text||
C6|crash|it crashes: SIGFPE||
C7|crash|the host of an instance is used beyond its size||
C8|crash|the par_call of configure() is used after configure() returned||
C9|fail|that were made and destroyed have left||
C10|crash|it crashes: SIGSEGV||
C11|fail|adds capabilities (0x10)||
C11_WORDS|fail|configure() fails with PAR_EUNAVAIL, and without a word||
B1|fail|it does not come up||
B2|hang|of the batches that were submitted have not been given back||B2 B1 C5
B3|fail|a batch is given back twice||
B3_STRANGER|fail|host->done() gets 0x1234500001234||
B4|fail|host->done() gets the status 42||
B4_SUBMIT|fail|submit() fails with PAR_EFAILED, but has given the batch back||
B5|fail|the pipe is broken||
B6|crash|it crashes: SIGABRT||
B7|fail|threads more than before||
B8|fail|descriptors more than before||
B9|fail|says runs_inline, but it calls host->run() outside submit()||
B9_INLINE|fail|does not say runs_inline||
B10|crash|it crashes: SIGABRT||
B11|fail|it has no operation kill||
B12|fail|a map inside a task||
B13|fail|a child of fork(), which only ends, crashes: SIGABRT||
B14|fail|the second of two pools does not come up||
B15|fail|compute_batch_size() is 0||
T1|fail|it calls start() of parloop.timer/1 on another thread||
T2|fail|it calls host->run() on the loop's thread||
T3|fail|does not block SIGINT||
T4|fail|disposition of signal 12 (USR2): a handler||
T5|crash|the host of an instance is used after its destroy() returned||
T6|fail|is not the same on another thread||
T7|warn|submit() takes||T7 B5 C5
T7_HANG|hang|submit() has not returned||T7 B1 C5
END

# Builds one and has it checked; what was said lies in $work/SYMBOL.
cat >"$work/try" <<'END'
IFS='|' read -r symbol status words links only <<LINE
$1
LINE
IFS=' '
eval "links=\"$links\""
$CC $SANFLAGS -std=gnu11 -g -fPIC -fvisibility=hidden -Iinclude -DBREAKS_$symbol -shared \
	tests/check/variant.c -pthread $links -o "$work/$symbol.so" >"$work/$symbol" 2>&1 || exit 0
set --
for id in $only; do set -- "$@" --only "$id"; done
timeout 120 "$O/parloop" check --time-limit 5 --tap "$@" "$work/$symbol.so" >"$work/$symbol" 2>&1
echo "status $?" >>"$work/$symbol"
exit 0
END

# That rule, that status and those words; and of the others none that is broken, or doubtful.
says() { # says SYMBOL STATUS WORDS
	cat "$work/$1"
	rule=${1%%_*}
	awk -v rule="$rule" -v status="$2" -v words="$3" '
	/^(not )?ok / { sub(/^not /, "not_"); id = $4; bad = $1 == "not_ok" }
	bad && id != rule { print "rule " id " is broken too"; wrong = 1 }
	/^# (warn|fail|crash|hang): / {
		if (id != rule) {
			print "rule " id " is said to be broken too"
			wrong = 1
		} else if (index($0, "# " status ": ") == 1 && index($0, words) > 0) {
			found = 1
		}
	}
	/^status / && $2 != (status == "warn" ? 0 : 1) { print; wrong = 1 }
	END {
		if (!found)
			print "rule " rule " is not said to be broken, with " status " and " words
		exit wrong || !found
	}' "$work/$1"
}

# They wait more than they work.
tr '\n' '\0' <"$work/table" | xargs -0 -P 6 -n 1 sh "$work/try"
while IFS='|' read -r symbol status words links only; do
	expect "a plugin that breaks $symbol is told so" says "$symbol" "$status" "$words"
done <"$work/table"

for id in $("$O/parloop" check --list | cut -d ' ' -f 1); do
	expect "there is a plugin that breaks $id" grep -qE "^$id[|_]" "$work/table"
done

# --- the manual -------------------------------------------------------------------------------

"$O/parloop" check --list | sed 's/^\([A-Z0-9]*\) *[a-z]* */| \1 | /' >"$work/rules"
sed -n 's/^\(| [FLCBT][0-9]* | [^|]*[^ |]\) |.*/\1/p' plugins/README.md >"$work/manual"
expect "the manual has the same rules" same "$work/rules" "$work/manual"

# --- for programs, and debuggers --------------------------------------------------------------

finds_json() { # as JSON: one object, and what is said of B3
	"$O/parloop" check --json --only B3 "$work/B3.so" >"$work/json"
	cat "$work/json"
	/usr/bin/perl -MJSON::PP -0777 -ne 'my $all = decode_json($_);
		exit !($all->{counts}{fail} == 1 && $all->{results}[0]{status} eq "fail" &&
		       $all->{results}[0]{backend} eq "variant" &&
		       $all->{results}[0]{words} eq "a batch is given back twice")' "$work/json"
}
says_here() { # says_here STATUS LINE ARG ...: in the process of the command
	wanted=$1 line=$2
	shift 2
	"$O/parloop" check --in-process "$@" >"$work/said" 2>&1
	status=$?
	cat "$work/said"
	[ "$status" = "$wanted" ] && grep -qxF "$line" "$work/said"
}
refuses() { # refuses STATUS WORDS ARG ...
	wanted=$1 words=$2
	shift 2
	"$O/parloop" check "$@" >"$work/said" 2>&1
	status=$?
	cat "$work/said"
	[ "$status" = "$wanted" ] && grep -qF -e "$words" "$work/said"
}
expect "JSON says the same" finds_json
expect "one test can be run in the process" says_here 1 "fail B3: a batch is given back twice" \
	--only B3 "$work/B3.so"
expect "and what is right is said there too" says_here 0 "ok B3" --only B3 "$work/B4.so"
expect "random steps find what is broken" refuses 1 "a batch is given back twice" \
	--fuzz 7 50 "$work/B3.so"
without_tasks() { # a command whose tasks are not where it looks for them
	mkdir "$work/moved" && cp -L "$O/parloop" "$O/libparloop.so.0" "$work/moved" &&
		! "$work/moved/parloop" check "$work/B3.so" >"$work/said" 2>&1
	cat "$work/said"
	grep -qF "$work/moved/parloop-check/tasks.so" "$work/said"
}
expect "a command without its tasks says which file is missing" without_tasks
expect "a file that is not there is no plugin" refuses 2 "cannot read the plugin" nonesuch.so
expect "nor is any other" refuses 1 "not an ELF file" tests/test_check.sh
expect "an unknown rule is refused" refuses 2 'there is no rule "X1"' --only X1 "$work/B3.so"
expect "an unknown backend is refused" refuses 2 'the file has no backend "other"' -b other \
	"$work/B3.so"
expect "--fuzz wants two numbers" refuses 2 "--fuzz wants two numbers" --fuzz 1 "$work/B3.so"
expect "--in-process wants a rule" refuses 2 "is for one rule" --in-process "$work/B3.so"
expect "where a backend cannot be tried the status says so" refuses 3 'chunk' -o chunk=9 \
	--only B1 --only F1 "$work/B3.so"

summary
