#include "watch.h"

#include "error.h"
#include "loader.h"
#include "log.h"
#include "lookup.h"
#include "registry.h"
#include "trust.h"

#include <parloop/parloop.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* Written whole, or renamed; a link is whole when it is made. */
enum {
	COMES = IN_CLOSE_WRITE | IN_MOVED_TO,
	GOES = IN_DELETE | IN_MOVED_FROM,
	ENDS = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT
};

/* A file that has a backend; for who hears of its end. */
struct known {
	struct known *next;
	char *path;
	char *name;
};

/* The thread's, once it runs. */
struct watched {
	const struct conf *conf;
	int inotify;
	int *folders; /* of inotify, in the order of conf->plugin_dirs; -1: not watched */
	struct known *known;
};

/* --- what is known -------------------------------------------------------------------------- */

static void know(struct watched *watched, const char *path, const char *name)
{
	struct known *known = calloc(1, sizeof(*known));

	if (known == NULL)
		return;
	known->path = strdup(path);
	known->name = strdup(name);
	if (known->path == NULL || known->name == NULL) {
		free(known->path);
		free(known->name);
		free(known);
		return;
	}
	known->next = watched->known;
	watched->known = known;
}

/* The next name of that file, taken out; of malloc; NULL: there is none. */
static char *forget(struct watched *watched, const char *path)
{
	for (struct known **at = &watched->known; *at != NULL; at = &(*at)->next) {
		struct known *known = *at;
		char *name = known->name;

		if (strcmp(known->path, path) != 0)
			continue;
		*at = known->next;
		free(known->path);
		free(known);
		return name;
	}
	return NULL;
}

static int is_loaded(const char *path, const char *name)
{
	const struct provider *provider = registry_loaded(name);

	return provider != NULL && provider->file != NULL && strcmp(provider->file, path) == 0;
}

/* --- what is told --------------------------------------------------------------------------- */

static void tell_of_backend(const struct watched *watched, const char *path, const char *name)
{
	const char *none[] = {NULL};
	par_error ignored = PAR_ERROR_INIT;
	struct lookup found;

	if (is_loaded(path, name)) {
		log_line(LOG_WARNING, "backend \"%s\": %s was replaced; what is loaded stays in use until "
		                      "this program is started again", name, path);
		return;
	}
	if (lookup_name(watched->conf, name, none, &found, &ignored) < 0)
		return;
	if (strcmp(found.path, path) == 0)
		log_line(LOG_INFO, "backend \"%s\" is available: %s", name, path);
	else
		log_line(LOG_INFO, "backend \"%s\" of %s is not used: %s has that name as well, and comes "
		                   "first", name, path, found.path);
	lookup_finish(&found);
}

/* Nobody asked for it, but who copied it there wants to use it. */
static void tell_broken(const char *path, const par_error *why)
{
	par_error error = *why;
	char text[1200];

	error_prefix(&error, "%s cannot be used", path);
	error.file[0] = '\0';
	log_line(LOG_WARNING, "%s", par_error_text(&error, 0, text, sizeof(text)));
}

static void look_at(struct watched *watched, const char *path, int tells)
{
	par_error why = PAR_ERROR_INIT;
	struct note *note = NULL;
	int32_t status = trust_check(path, &why);
	struct stat file;
	char *before;

	if (status == PAR_OK)
		status = note_read(&note, path, &why);
	if (status == PAR_OK)
		status = loader_check(path, &why);
	/* It may be gone before it is looked at; that event comes next. */
	if (status != PAR_OK && lstat(path, &file) < 0 && errno == ENOENT) {
		note_destroy(note);
		return;
	}
	while ((before = forget(watched, path)) != NULL)
		free(before);
	for (size_t i = 0; status == PAR_OK && i < note->n_backends; i++) {
		know(watched, path, note->backends[i].name);
		if (tells)
			tell_of_backend(watched, path, note->backends[i].name);
	}
	if (status != PAR_OK && status != PAR_ENOMEM && tells)
		tell_broken(path, &why);
	note_destroy(note);
}

static void tell_name_gone(const char *name, const char *path)
{
	log_line(LOG_INFO, "backend \"%s\" is gone: %s%s", name, path,
	         is_loaded(path, name) ? "; what is loaded stays in use until this program ends" : "");
}

static void tell_gone(struct watched *watched, const char *path)
{
	const struct provider *loaded;
	int is_known = 0;
	char *name;

	while ((name = forget(watched, path)) != NULL) {
		is_known = 1;
		tell_name_gone(name, path);
		free(name);
	}
	/* Somebody may have used it before it was looked at here. */
	for (size_t i = 0; !is_known && (loaded = registry_loaded_of(path, i)) != NULL; i++)
		tell_name_gone(loaded->name, path);
}

/* --- events --------------------------------------------------------------------------------- */

static int is_plugin(const char *name)
{
	size_t length = strlen(name);

	return length > 3 && name[0] != '.' && strcmp(name + length - 3, ".so") == 0;
}

/* Made there and not opened for writing: a second name, or a symbolic link. */
static int is_link(const char *path)
{
	struct stat file;

	return lstat(path, &file) == 0 && (S_ISLNK(file.st_mode) || file.st_nlink > 1);
}

static const char *folder_of(struct watched *watched, int folder)
{
	for (size_t i = 0; watched->conf->plugin_dirs[i] != NULL; i++)
		if (watched->folders[i] == folder)
			return watched->conf->plugin_dirs[i];
	return NULL;
}

static void take_event(struct watched *watched, const struct inotify_event *event)
{
	const char *folder = folder_of(watched, event->wd);
	char *path;

	if (event->mask & IN_Q_OVERFLOW)
		log_line(LOG_WARNING, "watch: too much happened in the plugin folders to tell of it all");
	if (folder == NULL)
		return;
	if (event->mask & ENDS)
		log_line(LOG_WARNING, "watch: the plugin folder %s is gone, and not watched any more", folder);
	if (event->len == 0 || !is_plugin(event->name) || asprintf(&path, "%s/%s", folder, event->name) < 0)
		return;
	if ((event->mask & COMES) || ((event->mask & IN_CREATE) && is_link(path)))
		look_at(watched, path, 1);
	else if (event->mask & GOES)
		tell_gone(watched, path);
	free(path);
}

static void *watch(void *arg)
{
	struct watched *watched = arg;
	_Alignas(struct inotify_event) char bytes[4096];
	ssize_t n;

	while ((n = read(watched->inotify, bytes, sizeof(bytes))) > 0 || (n < 0 && errno == EINTR)) {
		const struct inotify_event *event;

		for (ssize_t at = 0; at < n; at += (ssize_t)(sizeof(*event) + event->len)) {
			event = (const struct inotify_event *)(const void *)(bytes + at);
			take_event(watched, event);
		}
	}
	log_line(LOG_WARNING, "watch: nobody tells of new plugins any more: %s", strerror(errno));
	return NULL;
}

/* --- its beginning --------------------------------------------------------------------------- */

static void watch_folders(struct watched *watched)
{
	char *const *folders = watched->conf->plugin_dirs;

	for (size_t i = 0; folders[i] != NULL; i++) {
		watched->folders[i] = inotify_add_watch(watched->inotify, folders[i],
		                                        COMES | GOES | ENDS | IN_CREATE | IN_ONLYDIR);
		if (watched->folders[i] < 0)
			log_line(LOG_WARNING, "watch: the plugin folder %s is not watched: %s", folders[i],
			         strerror(errno));
	}
}

/* After the folders are watched, so that nobody comes in between. */
static void learn_what_is_there(struct watched *watched)
{
	par_error ignored = PAR_ERROR_INIT;
	struct scan scan;

	if (scan_dirs(&scan, (const char *const *)watched->conf->plugin_dirs, &ignored) < 0)
		return;
	for (size_t i = 0; i < scan.n_files; i++)
		if (scan.files[i].note != NULL)
			look_at(watched, scan.files[i].path, 0);
	scan_finish(&scan);
}

static int start(struct watched *watched)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int code;

	if (pthread_attr_init(&attributes) != 0)
		return ENOMEM;
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&thread, &attributes, watch, watched);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return code;
}

static int begin(const struct conf *conf)
{
	/* Found by who looks for leaks, and the thread's for good. */
	static struct watched watched;
	size_t n = 0;
	int code;

	while (conf->plugin_dirs[n] != NULL)
		n++;
	watched = (struct watched){.conf = conf, .folders = calloc(n + 1, sizeof(int))};
	watched.inotify = watched.folders != NULL ? inotify_init1(IN_CLOEXEC) : -1;
	if (watched.inotify < 0)
		return watched.folders != NULL ? errno : ENOMEM;
	watch_folders(&watched);
	learn_what_is_there(&watched);
	code = start(&watched);
	if (code != 0)
		(void)close(watched.inotify);
	return code;
}

void watch_begin(const struct conf *conf)
{
	static atomic_flag begun = ATOMIC_FLAG_INIT;
	int code;

	if (!conf->watches || atomic_flag_test_and_set(&begun))
		return;
	code = begin(conf);
	if (code != 0)
		log_line(LOG_WARNING, "watch = yes: the plugin folders cannot be watched: %s", strerror(code));
}
