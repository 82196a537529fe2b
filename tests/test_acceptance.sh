# The list of behaviours itself: it believes no backend, and goes on after one that crashes or
# hangs.
. tests/shell.sh

list=$O/tests/acceptance/acceptance

# A backend like sequential, but for what is done to its source.
plugin() { # plugin NAME SED-SCRIPT
	sed -e "s/sequential/$1/g" -e "$2" plugins/sequential.c >"$work/$1.c" &&
		$CC $SANFLAGS -D_GNU_SOURCE -fPIC -fvisibility=hidden -Iinclude "$work/$1.c" -shared \
			-o "$work/plugins/$1.so"
}

asked() { # asked STATUS NUMBER NAME: that behaviour, of that backend
	CK_DEFAULT_TIMEOUT=${limit:-30} $list --only "$2" --backend "$3" >"$work/list"
	status=$?
	cat "$work/list"
	[ "$status" -eq "$1" ]
}

says() {
	grep -F -- "$1" "$work/list"
}

mkdir "$work/plugins"
printf '[parloop]\nplugin_dir = %s\n' "$work/plugins" >"$work/plugins.conf"
export PARLOOP_CONF="$work/plugins.conf"
give_back='backend->host->done(backend->host, batch, backend->host->run(backend->host, batch), NULL);'

plugin good ''
expect "a backend in plugin_dir is on the list without more" asked 0 B03 good
expect "and is named" says '[good]: ok'
expect "and it is counted" says '1 passed, 0 failed, 0 skipped'

plugin crashes "s/$give_back/abort();/"
expect "a backend that crashes is not ok" asked 1 B03 crashes
expect "and the line says how" says '[crashes]: not ok: crashes: crashed: Aborted'
expect "and it is counted" says '0 passed, 1 failed, 0 skipped'

plugin hangs "s/$give_back//"
limit=1
expect "a backend that hangs is not ok" asked 1 B03 hangs
expect "and the line says so" says '[hangs]: not ok: hangs: not done after 2 s'
limit=30

plugin none "s/return 1;/return 0;/"
expect "a backend that cannot be had is left out" asked 0 B03 none
expect "and the list says why" says 'without none: none has no active worker'
expect "and it is counted" says '0 passed, 0 failed, 1 skipped'

# It claims to run batches that it does not.
plugin lies "s/$give_back/backend->host->done(backend->host, batch, PAR_OK, NULL);/"
expect "a backend that does not do its work is not ok" asked 1 B03 lies

expect "a number that nobody has is an error" asked 1 B999 good
expect "and so is a backend that nobody has" asked 1 B03 nobody
expect "and a word that nobody knows" sh -c "! $list --what"
summary
