#include "conf.h"

#include "conf_check.h"
#include "conf_lines.h"
#include "error.h"
#include "forked.h"
#include "log.h"
#include "nearest.h"
#include "note.h"
#include "options.h"
#include "paths.h"
#include "shared.h"
#include "trust.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum section { NO_SECTION, IN_PARLOOP, IN_BACKEND, IN_LAZY, IN_UNKNOWN };

enum { N_KEYS = 20 };

struct reader {
	struct conf *conf;
	const char *file;  /* as the errors call it: its last part */
	char *folder;
	enum section section;
	int parloop_line, lazy_line; /* 0: not seen */
	int key_lines[N_KEYS];
	int n_problems;
	int no_memory;
	par_error first;
};

/* --- what is wrong ------------------------------------------------------------------------- */

/* The first is the caller's answer, the others go to the log: all at once. */
static void tell(void *user, int line, par_error *problem)
{
	struct reader *reader = user;
	char text[1200];

	error_prefix(problem, "%s:%d: ", reader->file, line);
	if (problem->file[0] == '\0')
		error_file(problem, "%s", reader->conf->file);
	problem->code = PAR_ECONFIG;
	if (reader->n_problems++ == 0)
		reader->first = *problem;
	else
		log_line(LOG_ERROR, "%s", par_error_text(problem, 0, text, sizeof(text)));
}

static void tell_bad(void *user, int line, const char *why)
{
	par_error problem = PAR_ERROR_INIT;

	error_set(&problem, PAR_ECONFIG, "cannot read the line");
	error_reason(&problem, "%s", why);
	tell(user, line, &problem);
}

/* Both times with their lines, since which of them is too much only the user knows. */
static void tell_twice(struct reader *reader, int line, int before, const char *what)
{
	par_error problem = PAR_ERROR_INIT;

	error_set(&problem, PAR_ECONFIG, "%.100s stands here again", what);
	error_reason(&problem, "it stands in line %d already", before);
	error_remedy(&problem, "remove one of the two");
	tell(reader, line, &problem);
}

static char *keep(struct reader *reader, char *text)
{
	if (text == NULL)
		reader->no_memory = 1;
	return text;
}

/* One more at the end of an array: zero but for its name, which is where the struct
 * begins.  NULL: no memory, and nothing was added. */
static void *append(struct reader *reader, void *array, size_t *n, size_t size, const char *name)
{
	void **items = array;
	char *copy = strdup(name);
	char *grown = copy == NULL ? NULL : reallocarray(*items, *n + 1, size);

	if (grown == NULL) {
		free(copy);
		reader->no_memory = 1;
		return NULL;
	}
	*items = grown;
	grown += (*n)++ * size;
	memset(grown, 0, size);
	memcpy(grown, &copy, sizeof(copy));
	return grown;
}

/* --- [parloop] ----------------------------------------------------------------------------- */

static int set_default(struct reader *reader, const char *value)
{
	if (!note_is_name(note_plain_name(value)))
		return -1;
	free(reader->conf->default_backend);
	reader->conf->default_backend = keep(reader, strdup(value));
	return 0;
}

static int append_dir(struct reader *reader, char *dir)
{
	struct conf *conf = reader->conf;
	size_t n = 0;
	char **grown;

	while (conf->plugin_dirs != NULL && conf->plugin_dirs[n] != NULL)
		n++;
	grown = dir == NULL ? NULL : reallocarray(conf->plugin_dirs, n + 2, sizeof(*grown));
	if (grown == NULL) {
		free(dir);
		reader->no_memory = 1;
		return 0;
	}
	conf->plugin_dirs = grown;
	grown[n] = dir;
	grown[n + 1] = NULL;
	return 0;
}

static int set_plugin_dir(struct reader *reader, const char *value)
{
	return value[0] == '\0' ? -1 : append_dir(reader, paths_resolve(reader->folder, value));
}

static int set_number(par_int *slot, const char *value, int64_t lowest, int64_t highest)
{
	if (options_parse_int(value, &slot->value) < 0 || slot->value < lowest ||
	    slot->value > highest)
		return -1;
	slot->set = 1;
	return 0;
}

static int set_n_jobs(struct reader *reader, const char *value)
{
	int result = set_number(&reader->conf->n_jobs, value, -1000000, 1000000);

	return reader->conf->n_jobs.value == 0 ? -1 : result;
}

static int set_pre_dispatch(struct reader *reader, const char *value)
{
	if (value[0] == '\0')
		return -1;
	free(reader->conf->pre_dispatch);
	reader->conf->pre_dispatch = keep(reader, strdup(value));
	return 0;
}

static int set_batch_size(struct reader *reader, const char *value)
{
	if (strcmp(value, "auto") != 0)
		return set_number(&reader->conf->batch_size, value, 1, 1 << 30);
	reader->conf->batch_size = (par_int)PAR_SET(PAR_AUTO);
	return 0;
}

/* Seconds, as in the settings of a call, or a time with its unit. */
static int set_seconds(par_real *timeout, const char *value)
{
	int64_t ns;
	char *end;

	if (options_parse_time(value, &ns) == 0) {
		*timeout = (par_real)PAR_SET((double)ns / 1e9);
		return ns > 0 ? 0 : -1;
	}
	errno = 0;
	*timeout = (par_real)PAR_SET(strtod(value, &end));
	if (end == value || *end != '\0' || errno != 0)
		return -1;
	return isfinite(timeout->value) && timeout->value > 0 && timeout->value < 1e9 ? 0 : -1;
}

static int set_timeout(struct reader *reader, const char *value)
{
	return set_seconds(&reader->conf->timeout, value);
}

static int set_task_timeout(struct reader *reader, const char *value)
{
	return set_seconds(&reader->conf->task_timeout, value);
}

static int set_call_timeout(struct reader *reader, const char *value)
{
	return set_seconds(&reader->conf->call_timeout, value);
}

static int set_close_timeout(struct reader *reader, const char *value)
{
	if (strcmp(value, "0") != 0)
		return set_seconds(&reader->conf->close_timeout, value);
	reader->conf->close_timeout = (par_real)PAR_SET(0);
	return 0;
}

static int set_retries(struct reader *reader, const char *value)
{
	return set_number(&reader->conf->retries, value, 0, 1000);
}

static int set_verbose(struct reader *reader, const char *value)
{
	return set_number(&reader->conf->verbose, value, 0, 1000000);
}

static int set_max_nbytes(struct reader *reader, const char *value)
{
	par_int *max = &reader->conf->max_nbytes;

	*max = (par_int)PAR_SET(-1);
	return strcmp(value, "none") == 0 ? 0 : options_parse_size(value, &max->value);
}

static int set_mmap_mode(struct reader *reader, const char *value)
{
	enum shared_mode mode;

	if (shared_parse_mode(value, &mode) < 0)
		return -1;
	free(reader->conf->mmap_mode);
	reader->conf->mmap_mode = keep(reader, strdup(value));
	return 0;
}

static int set_oversubscribe(struct reader *reader, const char *value)
{
	int yes = strcmp(value, "yes") == 0;

	reader->conf->oversubscribe = (par_int)PAR_SET(yes);
	return yes || strcmp(value, "no") == 0 ? 0 : -1;
}

static int set_batch_shortest(struct reader *reader, const char *value)
{
	int64_t *ns = &reader->conf->batch_shortest_ns;

	return options_parse_time(value, ns) == 0 && *ns > 0 ? 0 : -1;
}

static int set_batch_longest(struct reader *reader, const char *value)
{
	int64_t *ns = &reader->conf->batch_longest_ns;

	return options_parse_time(value, ns) == 0 && *ns > 0 ? 0 : -1;
}

static int set_watch(struct reader *reader, const char *value)
{
	return options_parse_bool(value, &reader->conf->watches);
}

static const struct {
	const char *key;
	int (*set)(struct reader *reader, const char *value);
	const char *wanted;
} keys[] = {
	{"default", set_default, "a backend's name"},
	{"plugin_dir", set_plugin_dir, "a directory"},
	{"n_jobs", set_n_jobs, "a whole number: 1, 2, ..., or -1 for all cores; 0 has no meaning"},
	{"pre_dispatch", set_pre_dispatch, "all, a number, or arithmetic in n_jobs"},
	{"batch_size", set_batch_size, "auto or a whole number from 1 to 1073741824"},
	{"timeout", set_timeout, "a number of seconds above 0"},
	{"task_timeout", set_task_timeout, "a number of seconds above 0"},
	{"call_timeout", set_call_timeout, "a number of seconds above 0"},
	{"close_timeout", set_close_timeout, "a number of seconds from 0"},
	{"retries", set_retries, "a whole number from 0 to 1000"},
	{"verbose", set_verbose, "a whole number from 0"},
	{"max_nbytes", set_max_nbytes, "a size such as 1M, or none"},
	{"mmap_mode", set_mmap_mode, "r, r+, w+ or c"},
	{"oversubscribe", set_oversubscribe, "yes or no"},
	{"batch_shortest", set_batch_shortest, "a time with its unit, such as 200us"},
	{"batch_longest", set_batch_longest, "a time with its unit, such as 2ms"},
	{"watch", set_watch, "yes or no"},
};

_Static_assert(sizeof(keys) / sizeof(keys[0]) <= N_KEYS, "key_lines has room for every key");

static void unknown_key(struct reader *reader, int line, const char *key)
{
	par_error problem = PAR_ERROR_INIT;
	struct nearest nearest = {.word = key};
	char shown[80], known[200] = "";

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		size_t used = strlen(known);

		nearest_offer(&nearest, keys[i].key);
		(void)snprintf(known + used, sizeof(known) - used, "%s%s", i > 0 ? ", " : "",
		               keys[i].key);
	}
	error_set(&problem, PAR_ECONFIG, "unknown key \"%s\" in [parloop]",
	          error_escape(key, strlen(key), shown, sizeof(shown)));
	error_reason(&problem, "it has %s", known);
	if (nearest.best != NULL)
		error_remedy(&problem, "did you mean \"%s\"?", nearest.best);
	tell(reader, line, &problem);
}

static void bad_value(struct reader *reader, int line, size_t key, const char *value)
{
	par_error problem = PAR_ERROR_INIT;
	char shown[120];

	error_set(&problem, PAR_ECONFIG, "%s in [parloop]", keys[key].key);
	error_reason(&problem, "\"%s\" is not %s",
	             error_escape(value, strlen(value), shown, sizeof(shown)), keys[key].wanted);
	if (strpbrk(value, ";#") != NULL)
		error_remedy(&problem, "a comment needs a line of its own");
	tell(reader, line, &problem);
}

static void set_key(struct reader *reader, int line, const char *name, const char *value)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(name, keys[i].key) != 0)
			continue;
		if (reader->key_lines[i] != 0 && keys[i].set != set_plugin_dir)
			tell_twice(reader, line, reader->key_lines[i], name);
		else if (keys[i].set(reader, value) < 0)
			bad_value(reader, line, i, value);
		reader->key_lines[i] = line;
		return;
	}
	unknown_key(reader, line, name);
}

/* --- [backend NAME] and [lazy] ------------------------------------------------------------- */

static void set_path(struct reader *reader, struct conf_backend *backend, int line,
                     const char *value)
{
	par_error problem = PAR_ERROR_INIT;

	if (backend->path != NULL) {
		tell_twice(reader, line, backend->path_line, "path");
		return;
	}
	/* dlopen would put something of its own there. */
	if (value[0] == '\0' || strchr(value, '$') != NULL) {
		error_set(&problem, PAR_ECONFIG, "path in [backend %s]", backend->name);
		error_reason(&problem, value[0] == '\0' ? "it is empty" : "it has a \"$\"");
		error_remedy(&problem, "write the path of the plugin's file");
		tell(reader, line, &problem);
		return;
	}
	backend->path = keep(reader, paths_resolve(reader->folder, value));
	backend->path_line = line;
}

static void set_option(struct reader *reader, int line, const char *key, const char *value)
{
	struct conf_backend *backend = &reader->conf->backends[reader->conf->n_backends - 1];
	struct conf_entry *entry;

	if (strcmp(key, "path") == 0) {
		set_path(reader, backend, line, value);
		return;
	}
	for (size_t i = 0; i < backend->n_options; i++) {
		if (strcmp(backend->options[i].key, key) == 0) {
			tell_twice(reader, line, backend->options[i].line, key);
			return;
		}
	}
	entry = append(reader, &backend->options, &backend->n_options, sizeof(*entry), key);
	if (entry == NULL)
		return;
	entry->value = keep(reader, strdup(value));
	entry->line = line;
}

/* In [lazy], or that of a section. */
static void bad_name(struct reader *reader, int line, int is_section, const char *name)
{
	par_error problem = PAR_ERROR_INIT;
	const char *plain = note_plain_name(name);
	char shown[80];

	error_set(&problem, PAR_ECONFIG, "\"%s\" in %s",
	          error_escape(name, strlen(name), shown, sizeof(shown)),
	          is_section ? "[backend NAME]" : "[lazy]");
	if (plain == name || !note_is_name(plain)) {
		error_reason(&problem, "a backend's name is [a-z][a-z0-9_-]*, at most 32 letters, and "
		             "not " NOTE_NESTED "...");
	} else {
		error_reason(&problem, "it is %s at every level of nesting, and has the same plugin and "
		             "options", plain);
		error_remedy(&problem, is_section ? "write [backend %s], which holds for both"
		                                  : "write %s = FILE, which holds for both", plain);
	}
	tell(reader, line, &problem);
}

static void add_lazy(struct reader *reader, int line, const char *name, const char *file)
{
	const struct conf_lazy *before = conf_find_lazy(reader->conf, name);
	struct conf_lazy *lazy;

	if (!note_is_name(name)) {
		bad_name(reader, line, 0, name);
		return;
	}
	if (before != NULL) {
		tell_twice(reader, line, before->line, name);
		return;
	}
	if (file[0] == '\0' || strchr(file, '$') != NULL) {
		tell_bad(reader, line, "after \"=\" stands the file of the plugin, without \"$\"");
		return;
	}
	lazy = append(reader, &reader->conf->lazy, &reader->conf->n_lazy, sizeof(*lazy),
	              name);
	if (lazy == NULL)
		return;
	lazy->file = keep(reader, strdup(file));
	lazy->line = line;
}

/* --- sections ------------------------------------------------------------------------------ */

static enum section enter_once(struct reader *reader, int *seen, int line, enum section section,
                               const char *name)
{
	if (*seen != 0) {
		tell_twice(reader, line, *seen, name);
		return IN_UNKNOWN;
	}
	*seen = line;
	return section;
}

static enum section enter_backend(struct reader *reader, int line, const char *name)
{
	const struct conf_backend *before = conf_find_backend(reader->conf, name);
	struct conf_backend *backend;
	char title[64];

	if (!note_is_name(name)) {
		bad_name(reader, line, 1, name);
		return IN_UNKNOWN;
	}
	if (before != NULL) {
		(void)snprintf(title, sizeof(title), "[backend %s]", name);
		tell_twice(reader, line, before->line, title);
		return IN_UNKNOWN;
	}
	backend = append(reader, &reader->conf->backends, &reader->conf->n_backends,
	                 sizeof(*backend), name);
	if (backend == NULL)
		return IN_UNKNOWN;
	backend->line = line;
	return IN_BACKEND;
}

static enum section unknown_section(struct reader *reader, int line, const char *name)
{
	par_error problem = PAR_ERROR_INIT;
	struct nearest nearest = {.word = name};
	char shown[80];

	nearest_offer(&nearest, "parloop");
	nearest_offer(&nearest, "lazy");
	error_set(&problem, PAR_ECONFIG, "unknown section [%s]",
	          error_escape(name, strlen(name), shown, sizeof(shown)));
	error_reason(&problem, "there are [parloop], [backend NAME] and [lazy]");
	if (nearest.best != NULL)
		error_remedy(&problem, "did you mean [%s]?", nearest.best);
	else if (note_is_name(name))
		error_remedy(&problem, "for a backend's options write [backend %s]", name);
	tell(reader, line, &problem);
	return IN_UNKNOWN;
}

static enum section enter_section(struct reader *reader, int line, char *name)
{
	size_t length = strlen(name), word;

	while (length > 0 && (name[length - 1] == ' ' || name[length - 1] == '\t'))
		name[--length] = '\0';
	if (strcmp(name, "parloop") == 0)
		return enter_once(reader, &reader->parloop_line, line, IN_PARLOOP, "[parloop]");
	if (strcmp(name, "lazy") == 0)
		return enter_once(reader, &reader->lazy_line, line, IN_LAZY, "[lazy]");
	word = strcspn(name, " \t");
	if (word == 7 && strncmp(name, "backend", 7) == 0)
		return enter_backend(reader, line, name + word + strspn(name + word, " \t"));
	return unknown_section(reader, line, name);
}

static void on_section(void *user, int line, const char *name)
{
	struct reader *reader = user;
	char *copy = keep(reader, strdup(name));

	reader->section = copy == NULL ? IN_UNKNOWN : enter_section(reader, line, copy);
	free(copy);
}

static void on_entry(void *user, int line, const char *key, const char *value)
{
	struct reader *reader = user;

	if (reader->section == NO_SECTION)
		tell_bad(reader, line, "stands before any section; the first is usually [parloop]");
	else if (reader->section == IN_PARLOOP)
		set_key(reader, line, key, value);
	else if (reader->section == IN_BACKEND)
		set_option(reader, line, key, value);
	else if (reader->section == IN_LAZY)
		add_lazy(reader, line, key, value);
}

/* --- the whole ----------------------------------------------------------------------------- */

static void check_batch_times(struct reader *reader)
{
	const struct conf *conf = reader->conf;
	par_error problem = PAR_ERROR_INIT;
	int line = 0;

	if (conf->batch_shortest_ns == 0 || conf->batch_longest_ns == 0 ||
	    conf->batch_shortest_ns <= conf->batch_longest_ns)
		return;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (keys[i].set == set_batch_shortest)
			line = reader->key_lines[i];
	error_set(&problem, PAR_ECONFIG, "batch_shortest in [parloop]");
	error_reason(&problem, "it is longer than batch_longest");
	tell(reader, line, &problem);
}

/* A directory may be missing on this machine, but a file is none. */
static void check_dirs(struct reader *reader)
{
	for (size_t i = 0; reader->conf->plugin_dirs[i] != NULL; i++) {
		const char *dir = reader->conf->plugin_dirs[i];
		par_error problem = PAR_ERROR_INIT;
		struct stat file;

		if (stat(dir, &file) < 0) {
			if (strcmp(dir, paths_plugin_dir()) != 0)
				log_line(LOG_WARNING, "%s: plugin_dir %s: %s", reader->conf->file,
					 dir, strerror(errno));
			continue;
		}
		if (S_ISDIR(file.st_mode))
			continue;
		error_set(&problem, PAR_ECONFIG, "plugin_dir in [parloop]");
		error_file(&problem, "%s", dir);
		error_reason(&problem, "is not a directory");
		error_remedy(&problem, "for a single file write path = under [backend NAME]");
		tell(reader, reader->key_lines[1], &problem);
	}
}

/* $PARLOOP_PLUGIN_DIR, split at colons. */
static void add_environment_dirs(struct reader *reader)
{
	const char *value = secure_getenv("PARLOOP_PLUGIN_DIR");
	char *copy, *rest, *dir;

	if (value == NULL)
		return;
	copy = rest = keep(reader, strdup(value));
	while ((dir = strsep(&rest, ":")) != NULL)
		if (dir[0] != '\0')
			append_dir(reader, paths_absolute(dir));
	free(copy);
}

static int32_t read_file(struct reader *reader, par_error *error)
{
	const struct conf_lines lines = {on_section, on_entry, tell_bad, reader};
	const char *slash = strrchr(reader->conf->file, '/');
	int32_t status;

	reader->file = slash == NULL ? reader->conf->file : slash + 1;
	reader->folder = paths_folder(reader->conf->file);
	if (reader->folder == NULL)
		return error_memory(error, "reading plugins.conf");
	status = trust_check(reader->conf->file, error);
	if (status < 0) {
		error_prefix(error, "cannot use the configuration");
		if (error != NULL)
			error->code = PAR_ECONFIG;
		status = PAR_ECONFIG;
	} else {
		status = conf_lines_read(&lines, reader->conf->file, error);
	}
	free(reader->folder);
	return status;
}

/* What follows after the lines: the checks that need all of them. */
static int32_t finish(struct reader *reader, par_error *error)
{
	struct conf *conf = reader->conf;
	int32_t status;

	append_dir(reader, strdup(paths_plugin_dir()));
	if (conf->default_backend == NULL)
		conf->default_backend = keep(reader, strdup("threading"));
	if (reader->no_memory)
		return error_memory(error, "reading plugins.conf");
	if (conf->file == NULL)
		return PAR_OK;
	check_dirs(reader);
	check_batch_times(reader);
	status = conf_check(conf, tell, reader, error);
	if (status < 0 || reader->n_problems == 0)
		return status;
	if (error == NULL)
		return PAR_ECONFIG;
	error_copy(error, &reader->first);
	if (reader->n_problems > 1) {
		size_t used = strlen(error->what);

		(void)snprintf(error->what + used, sizeof(error->what) - used, " (and %d more)",
		               reader->n_problems - 1);
	}
	return PAR_ECONFIG;
}

int32_t conf_read(struct conf **out, const char *path, par_error *error)
{
	struct reader reader = {.conf = calloc(1, sizeof(*reader.conf))};
	int32_t status = PAR_OK;

	if (reader.conf == NULL)
		return error_memory(error, "reading plugins.conf");
	if (path != NULL)
		reader.conf->file = keep(&reader, paths_absolute(path));
	add_environment_dirs(&reader);
	if (reader.no_memory)
		status = error_memory(error, "reading plugins.conf");
	if (status == PAR_OK && path != NULL)
		status = read_file(&reader, error);
	if (status == PAR_OK)
		status = finish(&reader, error);
	if (status < 0)
		conf_destroy(reader.conf);
	else
		*out = reader.conf;
	return status;
}

static void finish_backend(struct conf_backend *backend)
{
	for (size_t i = 0; i < backend->n_options; i++) {
		free(backend->options[i].key);
		free(backend->options[i].value);
	}
	free(backend->options);
	free(backend->name);
	free(backend->path);
}

void conf_destroy(struct conf *conf)
{
	if (conf == NULL)
		return;
	for (size_t i = 0; i < conf->n_backends; i++)
		finish_backend(&conf->backends[i]);
	for (size_t i = 0; i < conf->n_lazy; i++) {
		free(conf->lazy[i].name);
		free(conf->lazy[i].file);
	}
	for (size_t i = 0; conf->plugin_dirs != NULL && conf->plugin_dirs[i] != NULL; i++)
		free(conf->plugin_dirs[i]);
	free(conf->plugin_dirs);
	free(conf->backends);
	free(conf->lazy);
	free(conf->default_backend);
	free(conf->pre_dispatch);
	free(conf->mmap_mode);
	free(conf->file);
	free(conf);
}

const struct conf_backend *conf_find_backend(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->n_backends; i++)
		if (strcmp(conf->backends[i].name, name) == 0)
			return &conf->backends[i];
	return NULL;
}

const struct conf_lazy *conf_find_lazy(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->n_lazy; i++)
		if (strcmp(conf->lazy[i].name, name) == 0)
			return &conf->lazy[i];
	return NULL;
}

/* --- the one in force ---------------------------------------------------------------------- */

static struct {
	pthread_mutex_t lock;
	/* under lock */
	struct conf *conf; /* NULL: not read yet */
	char *broken;      /* the file that was found, but is wrong */
} current = {.lock = PTHREAD_MUTEX_INITIALIZER};
FORKED_RENEWS(current.lock);

static int32_t read_found(struct conf **conf, par_error *error)
{
	int32_t status;
	char *path;

	status = paths_find_conf(&path, error);
	if (status < 0)
		return status;
	status = conf_read(conf, path, error);
	pthread_mutex_lock(&current.lock);
	if (status == PAR_ECONFIG && current.broken == NULL) {
		current.broken = path;
		path = NULL;
	}
	pthread_mutex_unlock(&current.lock);
	free(path);
	return status;
}

static const struct conf *get_current(void)
{
	const struct conf *conf;

	pthread_mutex_lock(&current.lock);
	conf = current.conf;
	pthread_mutex_unlock(&current.lock);
	return conf;
}

/* Read without the lock, since what is wrong is told to a function of the program's,
 * which may ask us things; so two threads may read it, and the first to finish counts.
 * A wrong file is read again by whoever asks next: it may have been mended. */
const struct conf *conf_get(par_error *error)
{
	const struct conf *conf = get_current();
	struct conf *mine;

	if (conf != NULL || read_found(&mine, error) < 0)
		return conf;
	pthread_mutex_lock(&current.lock);
	if (current.conf == NULL) {
		current.conf = mine;
		mine = NULL;
	}
	conf = current.conf;
	pthread_mutex_unlock(&current.lock);
	conf_destroy(mine);
	return conf;
}

int32_t conf_use(const char *path, par_error *error)
{
	struct conf *conf;
	int32_t status = conf_read(&conf, path, error);

	if (status < 0)
		return status;
	pthread_mutex_lock(&current.lock);
	conf->older = current.conf;
	current.conf = conf;
	pthread_mutex_unlock(&current.lock);
	return PAR_OK;
}

const char *conf_file(void)
{
	const struct conf *conf = conf_get(NULL);
	const char *file;

	if (conf != NULL)
		return conf->file;
	pthread_mutex_lock(&current.lock);
	file = current.broken;
	pthread_mutex_unlock(&current.lock);
	return file;
}
