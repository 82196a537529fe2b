/* conf.h - plugins.conf, read once and checked.
 *
 * Which file: par_configure(), else $PARLOOP_CONF (/dev/null: none), the user's, the
 * system's (an uninstalled build: its checkout's); never one that merely lies in the
 * current directory.  Without any, built-in settings serve. */
#ifndef CORE_CONF_H
#define CORE_CONF_H

#include <parloop/parloop.h>

#include <stddef.h>

/* "key = value", and where it stands. */
struct conf_entry {
	char *key;
	char *value;
	int line;
};

/* [backend NAME]: its options; path is taken out of them, resolved and checked. */
struct conf_backend {
	char *name;
	int line;
	char *path; /* absolute; NULL: looked for in the plugin directories */
	int path_line;
	struct conf_entry *options;
	size_t n_options;
};

/* A line of [lazy]: name = file, as written; not looked at. */
struct conf_lazy {
	char *name;
	char *file;
	int line;
};

struct conf {
	char *file; /* absolute, or NULL: built-in */
	char **plugin_dirs; /* absolute, ends in NULL */

	/* [parloop]: settings where a call leaves them unset */
	char *default_backend; /* never NULL */
	par_int n_jobs, batch_size, verbose, retries, max_nbytes, oversubscribe;
	par_real timeout, task_timeout, call_timeout, close_timeout;
	char *pre_dispatch; /* NULL: unset */
	char *mmap_mode;    /* NULL: unset */
	int64_t batch_shortest_ns, batch_longest_ns; /* auto-batching; 0: unset */
	int64_t watches; /* tells of plugins that come and go */

	struct conf_backend *backends;
	size_t n_backends;
	struct conf_lazy *lazy;
	size_t n_lazy;

	struct conf *older; /* which this one replaced, still valid for who holds it */
};

/* Read a file into *out, reporting every error at once: the first goes into error,
 * the others to the log.  path NULL: the built-in settings. */
int32_t conf_read(struct conf **out, const char *path, par_error *error);
void conf_destroy(struct conf *conf);

/* The configuration in force, found and read at the first call; NULL and an error
 * if it is wrong.  Valid until the process ends. [any] */
const struct conf *conf_get(par_error *error);

/* Put this file (NULL: the built-in settings) in force instead. [any] */
int32_t conf_use(const char *path, par_error *error);

/* Which file is, or would be, in force; NULL: none.  Static. [any] */
const char *conf_file(void);

const struct conf_backend *conf_find_backend(const struct conf *conf, const char *name);
const struct conf_lazy *conf_find_lazy(const struct conf *conf, const char *name);

#endif
