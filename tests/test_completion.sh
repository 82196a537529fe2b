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
expect "help of a command" offers " help sh" show
summary
