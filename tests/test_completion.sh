# What the shell offers at a tab.
. tests/shell.sh

if ! command -v bash >/dev/null; then
	skip "bash completes the command" "no bash here"
	summary
fi

# completes "LINE": what is offered at its end, sorted, in one line.
completes() {
	LINE=$1 COMMAND="$O/parloop" bash -c '
		. core/cli/parloop.bash
		compopt() { :; } # outside of a completion there is nothing to change
		COMP_LINE="$COMMAND$LINE"
		COMP_POINT=${#COMP_LINE}
		_parloop
		[ ${#COMPREPLY[@]} -eq 0 ] || printf "%s\n" "${COMPREPLY[@]}" | sort | tr "\n" " "'
}
offers() { # offers "LINE" "WHAT ..."
	offered=$(completes "$1")
	[ "$offered" = "${2:+$2 }" ] || {
		echo "offered: $offered"
		return 1
	}
}

mkdir "$work/plugins"
cp "$PLUGINS/threading.so" "$PLUGINS/processes.so" "$work/plugins"
cat >"$work/plugins.conf" <<END
[parloop]
plugin_dir = $work/plugins
[lazy]
late = late.so
END
export PARLOOP_CONF="$work/plugins.conf" PARLOOP_PLUGIN_DIR="$work/plugins"

expect "commands" offers " ba" backends
expect "and the options that stand for one" offers " --ve" --version
expect "backends, lazy ones too" offers " map -b l" "late loky"
expect "and at every level" offers " map -b nested-l" "nested-late nested-loky"
expect "with the same options" offers " map -b nested-loky -o idle" idle_worker_timeout=
expect "backends to show" offers " show mult" multiprocessing
expect "backends of another plugins.conf" offers " map --config /dev/null -b late" ""
expect "options" offers " map --task" --task-timeout
expect "short ones too" offers " map -k" -k
expect "options of the backend" offers " map -b loky -o idle" idle_worker_timeout=
expect "of the one that was named" offers " map --backend=threading -o idle" ""
expect "values that a choice has" offers " map -b multiprocessing -o start_method=fork" "fork forkserver"
expect "yes and no" offers " map -b loky -o pin=" "no yes"
expect "files elsewhere" offers " map $work/plugins.c" "$work/plugins.conf"
# A plugin whose loading would be seen.
printf '#include <parloop/backend.h>\n#include <unistd.h>\n#include <fcntl.h>\n%s\n%s\n%s\n' \
	'PAR_PLUGIN(PAR_BACKEND("marks", "leaves a mark") PAR_OPTION_INT("depth", 1, 1, 9, "how deep"))' \
	"__attribute__((constructor)) static void mark(void) { (void)!open(\"$work/mark\", O_CREAT, 0600); }" \
	'const par_backend_ops *parloop_backend_v1(const par_host *h, const char *n) { (void)h, (void)n; return 0; }' >"$work/marks.c"
expect "a plugin that leaves a mark where it is loaded is built" \
	$CC $SANFLAGS -fPIC -shared -fvisibility=hidden -Iinclude "$work/marks.c" -o "$work/plugins/marks.so"
expect "its name is offered" offers " map -b mar" marks
expect "and its options" offers " map -b marks -o d" depth=
expect "and nothing of it was run" sh -c "[ ! -e '$work/mark' ]"
expect "rules" offers " check --only B3" B3
expect "languages" offers " new -l c" "c c++"
expect "help of a command" offers " help sh" show
summary
