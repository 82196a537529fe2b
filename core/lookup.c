#include "lookup.h"

#include "error.h"
#include "forked.h"
#include "log.h"
#include "nearest.h"
#include "paths.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Backends that somebody may well ask for although they are not part of every
 * installation. */
static const struct {
	const char *name;
	const char *what;
	const char *file;
} known[] = {
	{"multiprocessing", "worker processes, forked or executed for the call", "processes.so"},
	{"loky", "worker processes that are kept for the next call", "processes.so"},
	{"mpi", "workers under MPI", "mpi.so"},
	{"dask", "a Dask cluster", "engines.so"},
	{"ray", "a Ray cluster", "engines.so"},
};

/* --- finding it ---------------------------------------------------------------------------- */

static int32_t take_file(const char *path, const char *name, struct lookup *found,
                         par_error *error)
{
	int32_t status = note_read(&found->note, path, error);

	if (status < 0) {
		error_prefix(error, "cannot load backend \"%s\"", name);
		return status == PAR_ENOTFOUND ? PAR_EUNAVAIL : status;
	}
	if (note_find(found->note, name) == NULL) {
		error_set(error, PAR_EUNAVAIL, "cannot load backend \"%s\"", name);
		error_file(error, "%s", path);
		error_reason(error, "the file offers \"%s\"%s, not \"%s\"",
		             found->note->backends[0].name,
		             found->note->n_backends > 1 ? " and others" : "", name);
		note_destroy(found->note);
		return PAR_EUNAVAIL;
	}
	found->path = strdup(path);
	if (found->path == NULL) {
		lookup_finish(found);
		return error_memory(error, "loading a backend");
	}
	/* Gone again?  Then dlopen will say so; nothing is remembered of it. */
	if (stat(path, &found->stat) < 0)
		memset(&found->stat, 0, sizeof(found->stat));
	return PAR_OK;
}

static void list_dirs(const struct conf *conf, char *buffer, size_t size)
{
	size_t used = 0;

	buffer[0] = '\0';
	for (size_t i = 0; conf->plugin_dirs[i] != NULL && used < size; i++)
		used += (size_t)snprintf(buffer + used, size - used, "%s%s", i > 0 ? ", " : "",
		                         conf->plugin_dirs[i]);
}

int32_t lookup_lazy_path(const struct conf *conf, const struct conf_lazy *lazy, char **path,
                         par_error *error)
{
	char *folder;

	if (strchr(lazy->file, '/') != NULL) {
		folder = paths_folder(conf->file);
		*path = folder == NULL ? NULL : paths_resolve(folder, lazy->file);
		free(folder);
		return *path == NULL ? error_memory(error, "looking for a plugin") : PAR_OK;
	}
	for (size_t i = 0; conf->plugin_dirs[i] != NULL; i++) {
		if (asprintf(path, "%s/%s", conf->plugin_dirs[i], lazy->file) < 0)
			return error_memory(error, "looking for a plugin");
		if (access(*path, F_OK) == 0)
			return PAR_OK;
		free(*path);
	}
	*path = NULL;
	return PAR_OK;
}

static int32_t lazy_missing(const struct conf *conf, const struct conf_lazy *lazy,
                            par_error *error)
{
	char dirs[200];

	list_dirs(conf, dirs, sizeof(dirs));
	error_set(error, PAR_EUNAVAIL, "backend \"%s\" is known but not installed", lazy->name);
	error_file(error, "%s:%d", conf->file, lazy->line);
	error_reason(error, "[lazy] names %s, which is not in %s", lazy->file, dirs);
	error_remedy(error, "put %s there, or write its whole path in [lazy]", lazy->file);
	return PAR_EUNAVAIL;
}

static int32_t take_lazy(const struct conf *conf, const struct conf_lazy *lazy,
                         struct lookup *found, par_error *error)
{
	char *path;
	int32_t status = lookup_lazy_path(conf, lazy, &path, error);

	if (status < 0)
		return status;
	if (path == NULL)
		return lazy_missing(conf, lazy, error);
	status = take_file(path, lazy->name, found, error);
	if (status < 0 && access(path, F_OK) < 0) {
		error_set(error, PAR_EUNAVAIL, "backend \"%s\" is known but not installed",
		          lazy->name);
		error_file(error, "%s", path);
		error_reason(error, "[lazy] of %s:%d names this file, which does not exist",
		             conf->file, lazy->line);
		error_remedy(error, "put the plugin there, or change the line");
	}
	free(path);
	return status;
}

/* --- not finding it ------------------------------------------------------------------------ */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_name(const char **names, size_t *n, size_t room, const char *name)
{
	for (size_t i = 0; i < *n; i++)
		if (strcmp(names[i], name) == 0)
			return;
	if (*n < room)
		names[(*n)++] = name;
}

/* All names that could be asked for, sorted; the texts are the caller's, conf's and scan's. */
static size_t all_names(const struct conf *conf, const struct scan *scan,
                        const char *const *also, const char **names, size_t room)
{
	size_t n = 0;

	for (; *also != NULL; also++)
		add_name(names, &n, room, *also);
	for (size_t i = 0; i < conf->n_backends; i++)
		if (conf->backends[i].path != NULL)
			add_name(names, &n, room, conf->backends[i].name);
	for (size_t i = 0; i < conf->n_lazy; i++)
		add_name(names, &n, room, conf->lazy[i].name);
	for (size_t i = 0; i < scan->n_files; i++) {
		const struct note *note = scan->files[i].note;

		for (size_t j = 0; note != NULL && j < note->n_backends; j++)
			add_name(names, &n, room, note->backends[j].name);
	}
	qsort(names, n, sizeof(*names), compare_names);
	return n;
}

static int32_t not_installed(const struct conf *conf, size_t which, par_error *error)
{
	const char *name = known[which].name;
	char dirs[240];
	size_t n = 0;

	while (conf->plugin_dirs[n + 1] != NULL)
		n++;
	list_dirs(conf, dirs, sizeof(dirs));
	error_set(error, PAR_EUNAVAIL, "backend \"%s\" (%s) is known but not installed", name,
	          known[which].what);
	error_reason(error, "no plugin offers it in %s", dirs);
	error_remedy(error, "put %s into %s", known[which].file, conf->plugin_dirs[n]);
	return PAR_EUNAVAIL;
}

/* What of it is to be compared with the names that there are; "nested_loky" and "nestedloky"
 * are slips of the pen. */
static const char *without_nested(const char *name)
{
	if (strncmp(name, NOTE_NESTED, strlen(NOTE_NESTED) - 1) != 0)
		return name;
	name += strlen(NOTE_NESTED) - 1;
	return name + (*name == '-' || *name == '_');
}

static void why_unknown(const char *name, const char *dirs, par_error *error)
{
	const char *plain = note_plain_name(name);

	if (note_plain_name(plain) != plain)
		error_reason(error, NOTE_NESTED " stands there once, and means every level already");
	else if (!note_is_name(plain))
		error_reason(error, "a backend's name is [a-z][a-z0-9_-]*, at most 32 letters");
	else
		error_reason(error, "no plugin offers %s in %s", plain == name ? "it" : plain, dirs);
}

/* joblib's sentence, with what joblib does not say: which name is near, and where
 * was looked. */
static int32_t unknown_name(const struct conf *conf, const struct scan *scan,
                            const char *const *also, const char *name, par_error *error)
{
	const char *plain = without_nested(note_plain_name(name));
	const char *prefix = plain == name ? "" : NOTE_NESTED;
	struct nearest nearest = {.word = plain};
	const char *names[64];
	char listed[160] = "", shown[60], dirs[240];
	size_t n = all_names(conf, scan, also, names, 64), used = 0;

	for (size_t i = 0; i < n; i++)
		nearest_offer(&nearest, names[i]);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		nearest_offer(&nearest, known[i].name);
	for (size_t i = 0; i < n && used < sizeof(listed); i++)
		used += (size_t)snprintf(listed + used, sizeof(listed) - used, "%s'%s%s'",
		                         i > 0 ? ", " : "", prefix, names[i]);
	list_dirs(conf, dirs, sizeof(dirs));
	error_set(error, PAR_ENOTFOUND, "Invalid backend: %s, expected one of [%s]",
	          error_escape(name, strlen(name), shown, sizeof(shown)), listed);
	why_unknown(name, dirs, error);
	if (nearest.best != NULL)
		error_remedy(error, "did you mean \"%s%s\"?", prefix, nearest.best);
	else
		error_remedy(error, "put its plugin there, or use one of those listed");
	return PAR_ENOTFOUND;
}

/* A broken file that is called as the backend is why it is missing. */
static const struct scan_file *find_broken(const struct scan *scan, const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < scan->n_files; i++) {
		const char *base = strrchr(scan->files[i].path, '/') + 1;

		if (scan->files[i].note == NULL && strncmp(base, name, length) == 0 &&
		    strcmp(base + length, ".so") == 0)
			return &scan->files[i];
	}
	return NULL;
}

static int32_t missing(const struct conf *conf, const struct scan *scan,
                       const char *const *also, const char *name, par_error *error)
{
	const char *plain = note_plain_name(name);
	const struct scan_file *broken = find_broken(scan, plain);

	if (broken != NULL) {
		error_set(error, PAR_EUNAVAIL, "cannot load backend \"%s\"", plain);
		error_file(error, "%s", broken->error.file);
		error_reason(error, "%s", broken->error.reason);
		error_remedy(error, "%s", broken->error.remedy);
		return PAR_EUNAVAIL;
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, plain) == 0)
			return not_installed(conf, i, error);
	return unknown_name(conf, scan, also, name, error);
}

/* --- two files with one name --------------------------------------------------------------- */

/* The same file under two names is one plugin. */
static int is_same_file(const char *a, const char *b)
{
	struct stat first, second;

	return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
	       first.st_ino == second.st_ino;
}

void lookup_report_losers(const struct scan *scan)
{
	for (size_t i = 0; i < scan->n_files; i++) {
		const struct scan_file *file = &scan->files[i];

		for (size_t j = 0; file->note != NULL && j < file->note->n_backends; j++) {
			const char *name = file->note->backends[j].name;
			const struct scan_file *winner = scan_find(scan, name);

			if (winner != file && !is_same_file(winner->path, file->path))
				log_once(file->path, LOG_WARNING,
				         "backend \"%s\" is offered by %s, which comes first, and by %s, "
				         "which is not used", name, winner->path, file->path);
		}
	}
}

/* --- the one lookup ------------------------------------------------------------------------ */

static int32_t take_dropped(const struct conf *conf, const char *name,
                            const char *const *also, struct lookup *found, par_error *error)
{
	const struct scan_file *file;
	struct scan scan;
	int32_t status;

	status = scan_dirs(&scan, (const char *const *)conf->plugin_dirs, error);
	if (status < 0)
		return status;
	lookup_report_losers(&scan);
	file = scan_find(&scan, note_plain_name(name));
	if (file != NULL)
		status = take_file(file->path, note_plain_name(name), found, error);
	else
		status = missing(conf, &scan, also, name, error);
	scan_finish(&scan);
	return status;
}

int32_t lookup_name(const struct conf *conf, const char *name, const char *const *also,
                    struct lookup *found, par_error *error)
{
	const char *plain = note_plain_name(name);
	const struct conf_backend *backend = conf_find_backend(conf, plain);
	const struct conf_lazy *lazy = conf_find_lazy(conf, plain);

	*found = (struct lookup){0};
	if (backend != NULL && backend->path != NULL)
		return take_file(backend->path, plain, found, error);
	if (lazy != NULL)
		return take_lazy(conf, lazy, found, error);
	return take_dropped(conf, name, also, found, error);
}

void lookup_finish(struct lookup *found)
{
	note_destroy(found->note);
	free(found->path);
	*found = (struct lookup){0};
}
