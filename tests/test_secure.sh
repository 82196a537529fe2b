# What a program with more rights than its user takes for safe: set-user-ID root, and run by nobody.
. tests/shell.sh

umask 022
cat >"$work/secure.c" <<'C'
/* Says which plugins.conf it has, and what becomes of backend good. */
#include <parloop/parloop.h>
#include <stdio.h>
#include <sys/auxv.h>
static void print(void *user, int32_t level, const char *line)
{
	(void)user, (void)level;
	puts(line);
}
int main(int argc, char **argv)
{
	par_error error = PAR_ERROR_INIT;
	char text[1200];
	if (!getauxval(AT_SECURE))
		return 77;
	par_set_log(print, NULL);
	if (argc > 1 && par_configure(argv[1], &error) < 0)
		return puts(par_error_text(&error, 0, text, sizeof(text))), 1;
	printf("configured by %s\n", par_config_file() == NULL ? "nothing" : par_config_file());
	if (par_context_push(PAR_SETTINGS(.backend = "good"), NULL, &error) < 0)
		return puts(par_error_text(&error, 0, text, sizeof(text))), 1;
	return puts("loaded"), 0;
}
C
run() { # run [VARIABLE=VALUE ...] -- [CONF]
	setpriv --reuid 65534 --regid 65534 --clear-groups env "$@" >"$work/said" 2>&1
	status=$?
	cat "$work/said"
	return $status
}
says() { # says WORDS [VARIABLE=VALUE ...] PROGRAM [CONF]
	words=$1
	shift
	run "$@"
	grep -qF -e "$words" "$work/said"
}
never() { # never WORDS ...: that is not among what it says
	words=$1
	shift
	run "$@"
	[ -s "$work/said" ] && ! grep -qF -e "$words" "$work/said"
}

# The folder of all that this test makes is its own user's only, unless it is everybody's.
secure=$work/secure place=${TMPDIR:-/tmp}
can_be_seen() {
	[ -z "$SAN" ] && [ "$(id -u)" = 0 ] && command -v setpriv &&
		$CC -Iinclude "$work/secure.c" "$O/libparloop.a" -luv $(pkg-config --libs inih libmd) -o "$secure" &&
		chmod 4755 "$secure" && chmod 755 "$work" && { [ -k "$place" ] || chmod 711 "$place"; } &&
		{ run "$secure"; :; } && grep -q '^configured by' "$work/said"
}
if ! can_be_seen >"$work/why" 2>&1; then
	skip "what a set-user-ID program takes for safe" "none can be made here: $SAN $(tail -n 1 "$work/why")"
	summary
fi

mkdir -p "$work/plugins" "$work/home/parloop"
cp "$O/tests/plugins/good.so" "$work/plugins/good.so"
printf '[parloop]\nprobe = never\nplugin_dir = %s\n' "$work/plugins" >"$work/plugins.conf"
cp "$work/plugins.conf" "$work/home/parloop/plugins.conf"

expect "a file that it names itself it takes" says "configured by $work/plugins.conf" "$secure" "$work/plugins.conf"
expect "and what that leads to" says loaded "$secure" "$work/plugins.conf"
expect "one of the environment it does not" \
	never "$work/plugins.conf" "PARLOOP_CONF=$work/plugins.conf" "$secure"
expect "nor the user's" never "$work/home" "XDG_CONFIG_HOME=$work/home" "HOME=$work/home" "$secure"
expect "nor folders of the environment" never loaded "PARLOOP_PLUGIN_DIR=$work/plugins" "$secure"

chmod 664 "$work/plugins/good.so"
expect "what a group may write it does not load" says "may be written by its group; chmod g-w $work" \
	"$secure" "$work/plugins.conf"
chmod 666 "$work/plugins/good.so"
expect "nor what everybody may" says "may be written by everybody; chmod o-w $work" \
	"$secure" "$work/plugins.conf"
expect "whatever the environment allows" says "may be written by everybody" \
	PARLOOP_ALLOW_WORLD_WRITABLE=yes "$secure" "$work/plugins.conf"
chmod 644 "$work/plugins/good.so"
chown 12345 "$work/plugins/good.so"
expect "nor what is somebody else's" says "is neither root's nor this user's; chown root $work" \
	"$secure" "$work/plugins.conf"
chown 0 "$work/plugins/good.so"
chmod 775 "$work/plugins"
expect "nor what lies in a folder that a group may write" says "its folder $work/plugins may be written by its group" \
	"$secure" "$work/plugins.conf"
chmod 755 "$work/plugins"
chmod 664 "$work/plugins.conf"
expect "nor is it configured by such a file" says "may be written by its group" "$secure" "$work/plugins.conf"
chmod 644 "$work/plugins.conf"
expect "and otherwise it is, still" says loaded "$secure" "$work/plugins.conf"
summary
