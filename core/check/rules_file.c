/* rules_file.c - what can be seen of a plugin without running any of it, and by loading it. */
#include "rules.h"
#include "scene.h"
#include "state.h"
#include "verdict.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- asking the core: by a plugins.conf that has the file, to be loaded in this process ------- */

__attribute__((noreturn)) static void refused(const par_error *error)
{
	failed("%s%s%s", error->reason[0] != '\0' ? error->reason : error->what,
	       error->remedy[0] != '\0' ? "; " : "", error->remedy);
}

/* The core says what is wrong with a file that has none. */
static const char *name_of(int i)
{
	return subject.plugin->n_names > 0 ? subject.plugin->names[i] : "plugin";
}

static void configure(void)
{
	const struct plugin *plugin = subject.plugin;
	int fd = memfd_create("plugins.conf", MFD_CLOEXEC);
	int is_written = fd >= 0 && fchmod(fd, 0600) == 0 && dprintf(fd, "[parloop]\nprobe = never\n") > 0;
	par_error error = PAR_ERROR_INIT;
	char path[64];

	for (int i = 0; is_written && i < (plugin->n_names > 0 ? plugin->n_names : 1); i++)
		is_written = dprintf(fd, "[backend %s]\npath = %s\n", name_of(i), plugin->path) > 0;
	if (!is_written)
		skipped("no memory for a file");
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (par_configure(path, &error) < 0)
		refused(&error);
	(void)close(fd);
}

static int32_t look(void *user, const par_backend_info *info)
{
	(void)user, (void)info;
	return 0;
}

static void is_a_plugin(void)
{
	par_error error = PAR_ERROR_INIT;

	configure();
	if (par_show_backend(name_of(0), look, NULL, &error) < 0)
		refused(&error);
}

/* --- the dynamic section ---------------------------------------------------------------------- */

static void note_export(void *user, const char *name)
{
	(void)user;
	if (strcmp(name, "parloop_backend_v1") != 0)
		doubtful("F2", "it shows others the name %s too; build it with -fvisibility=hidden", name);
}

static void exports_the_factory_alone(void)
{
	plugin_exports(subject.plugin, note_export, NULL);
}

static int has_flag(int64_t flag)
{
	int64_t flags = plugin_tag(subject.plugin, DT_FLAGS);

	return flags > 0 && (flags & flag) != 0;
}

static void is_position_independent(void)
{
	if (plugin_tag(subject.plugin, DT_TEXTREL) >= 0 || has_flag(DF_TEXTREL))
		failed("its code has to be changed when it is loaded (DT_TEXTREL), which some systems "
		       "forbid; build it with -fPIC");
}

static int is_public(const char *folder, size_t length)
{
	static const char *const kinds[] = {"$ORIGIN", "${ORIGIN}", "/usr/", "/lib", "/opt/"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (length >= strlen(kinds[i]) && strncmp(folder, kinds[i], strlen(kinds[i])) == 0)
			return 1;
	return length == 0;
}

static void check_path(int64_t tag)
{
	const char *path = plugin_text(subject.plugin, tag, 0);

	while (path != NULL && *path != '\0') {
		size_t length = strcspn(path, ":");

		if (!is_public(path, length))
			doubtful("F4", "it looks for libraries in %.*s, which other machines do not have",
			         (int)length, path);
		path += length + (path[length] == ':');
	}
}

static void looks_in_no_private_folder(void)
{
	check_path(DT_RUNPATH);
	check_path(DT_RPATH);
}

static void takes_no_static_tls(void)
{
	if (has_flag(DF_STATIC_TLS))
		doubtful("F5", "it takes static thread storage, of which a running program has little "
			       "left; build it with -ftls-model=global-dynamic");
}

static void is_linked_with_nothing_of_ours(void)
{
	const char *needed;

	for (int n = 0; (needed = plugin_text(subject.plugin, DT_NEEDED, n)) != NULL; n++)
		if (strncmp(needed, "libparloop", 10) == 0)
			failed("it is linked with %s, and would bring a second parloop along", needed);
}

const struct rule rules_file[] = {
	{"F1", "the file is one that parloop takes", is_a_plugin},
	{"F2", "it shows others nothing but its factory", exports_the_factory_alone},
	{"F3", "its code is position-independent", is_position_independent},
	{"F4", "it looks for libraries where every machine has them", looks_in_no_private_folder},
	{"F5", "it takes no static thread storage", takes_no_static_tls},
	{"F6", "it is linked with nothing of parloop", is_linked_with_nothing_of_ours},
	{NULL, NULL, NULL},
};

/* --- loading it ------------------------------------------------------------------------------- */

static void loads(void)
{
	configure();
	for (int i = 0; i < subject.plugin->n_names; i++) {
		const char *name = subject.plugin->names[i];
		par_error error = PAR_ERROR_INIT;

		/* Without an option that it needs the backend cannot be asked for, but is there. */
		if (par_context_push(PAR_SETTINGS(.backend = name), NULL, &error) < 0 &&
		    error.code != PAR_ECONFIG)
			refused(&error);
	}
}

static void load_and_ask(const par_host *host)
{
	scene_load();
	for (int i = 0; i < subject.plugin->n_names; i++)
		(void)subject.plugin->factory(host, subject.plugin->names[i]);
}

static void loads_at_once(void)
{
	enum { LIMIT_MS = 100 };
	const par_host *host = scene_factory_host();
	struct timespec began, ended;
	double ms;

	clock_gettime(CLOCK_MONOTONIC, &began);
	load_and_ask(host);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	ms = (double)(ended.tv_sec - began.tv_sec) * 1e3 + (double)(ended.tv_nsec - began.tv_nsec) / 1e6;
	if (ms > LIMIT_MS)
		doubtful("L2", "to load it takes %.0f ms, for everybody who lists or uses it", ms);
}

/* What goes to standard output and error meanwhile. */
static void prints_nothing(void)
{
	const par_host *host = scene_factory_host();
	int file = memfd_create("printed", MFD_CLOEXEC), kept[2] = {dup(1), dup(2)};
	char text[100];
	ssize_t n;

	if (file < 0 || kept[0] < 0 || kept[1] < 0)
		skipped("no descriptors for a file");
	(void)fflush(NULL);
	(void)dup2(file, 1);
	(void)dup2(file, 2);
	load_and_ask(host);
	(void)fflush(NULL);
	(void)dup2(kept[0], 1);
	(void)dup2(kept[1], 2);
	n = pread(file, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (n > 0)
		failed("while it is loaded it prints \"%s\", into whatever the program writes", text);
}

static void leaves(int what)
{
	const par_host *host = scene_factory_host();
	char *before = state_now(what), *change;

	load_and_ask(host);
	change = state_changed(before, what);
	if (change != NULL && change[0] == '+')
		failed("once it is loaded there is: %s", change + 1);
	if (change != NULL)
		failed("once it is loaded there is no more: %s", change + 1);
}

static void starts_nothing(void)
{
	leaves(STATE_THREADS | STATE_CHILDREN);
}

static void opens_nothing(void)
{
	leaves(STATE_DESCRIPTORS);
}

static void leaves_signals_alone(void)
{
	leaves(STATE_DISPOSITIONS | STATE_MASK);
}

static void leaves_the_process_alone(void)
{
	leaves(STATE_UMASK | STATE_FOLDER | STATE_LOCALE | STATE_ENVIRONMENT | STATE_ROUNDING);
}

const struct rule rules_load[] = {
	{"L1", "it loads, and has each backend of its note", loads},
	{"L2", "it loads at once", loads_at_once},
	{"L3", "it prints nothing while it is loaded", prints_nothing},
	{"L4", "it starts no thread and no process then", starts_nothing},
	{"L5", "it opens no descriptor then", opens_nothing},
	{"L6", "it leaves signals as they are", leaves_signals_alone},
	{"L7", "it leaves the rest of the process as it is", leaves_the_process_alone},
	{NULL, NULL, NULL},
};
