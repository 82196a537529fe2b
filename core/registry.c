#include "registry.h"

#include "conf.h"
#include "error.h"
#include "loader.h"
#include "lookup.h"
#include "trust.h"

#include <parloop/parloop.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum state { IDLE, LOADING, LOADED, FAILED };

/* A name that somebody asked for, and whose file was found. */
struct entry {
	struct entry *next;
	char *name;
	enum state state;
	struct lookup file;       /* LOADED, FAILED: what was tried */
	struct provider provider; /* LOADED */
	par_error why;            /* FAILED */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock; an entry is never removed, and LOADED never changes again */
	struct entry *entries;
	int in_use;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* --- under the lock ------------------------------------------------------------------------ */

static struct entry *find_entry(const char *name)
{
	for (struct entry *entry = table.entries; entry != NULL; entry = entry->next)
		if (strcmp(entry->name, name) == 0)
			return entry;
	return NULL;
}

/* As find_entry, but nobody is loading it any more. */
static struct entry *find_settled(const char *name)
{
	struct entry *entry = find_entry(name);

	while (entry != NULL && entry->state == LOADING)
		pthread_cond_wait(&table.changed, &table.lock);
	return entry;
}

static struct entry *add_entry(const char *name)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (entry == NULL)
		return NULL;
	entry->name = strdup(name);
	if (entry->name == NULL) {
		free(entry);
		return NULL;
	}
	entry->next = table.entries;
	table.entries = entry;
	return entry;
}

/* Is it still the file that failed before? */
static int is_unchanged(const struct lookup *before, const struct lookup *now)
{
	const struct stat *a = &before->stat, *b = &now->stat;

	return strcmp(before->path, now->path) == 0 && a->st_dev == b->st_dev &&
	       a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* --- loading ------------------------------------------------------------------------------- */

static void fill_provider(struct entry *entry)
{
	const struct note_backend *backend = note_find(entry->file.note, entry->name);
	struct provider *provider = &entry->provider;

	provider->name = entry->name;
	provider->file = entry->file.path;
	provider->capabilities = backend->capabilities;
	provider->batch_shortest_ns = backend->batch_shortest_ns;
	provider->batch_longest_ns = backend->batch_longest_ns;
	provider->schema = &backend->schema;
}

/* The entry is LOADING, so it is this thread's alone; the lock is not held. */
static int32_t load(struct entry *entry, par_error *error)
{
	par_error why = PAR_ERROR_INIT;
	int32_t status;

	fill_provider(entry);
	status = loader_load(entry->file.path, entry->file.note, entry->name,
	                     &entry->provider.ops, &why);
	if (status < 0)
		error_prefix(&why, why.what[0] == '\0' ? "cannot load backend \"%s\""
		                                       : "cannot load backend \"%s\": ", entry->name);
	pthread_mutex_lock(&table.lock);
	entry->state = status < 0 ? FAILED : LOADED;
	entry->why = why;
	pthread_cond_broadcast(&table.changed);
	pthread_mutex_unlock(&table.lock);
	if (status < 0 && error != NULL)
		*error = why;
	return status;
}

/* Make the entry this thread's to load, with this file (which it takes); or say
 * what somebody else came to.  1: load it, else the status. */
static int32_t claim(const char *name, struct lookup *file, struct entry **out, par_error *error)
{
	struct entry *entry = find_settled(name);

	if (entry == NULL)
		entry = add_entry(name);
	if (entry == NULL)
		return error_memory(error, "loading a backend");
	*out = entry;
	if (entry->state == LOADED)
		return PAR_OK;
	/* That memory was short then says nothing about now. */
	if (entry->state == FAILED && entry->why.code != PAR_ENOMEM &&
	    is_unchanged(&entry->file, file)) {
		if (error != NULL)
			*error = entry->why;
		return entry->why.code;
	}
	lookup_finish(&entry->file);
	entry->file = *file;
	*file = (struct lookup){0};
	entry->state = LOADING;
	return 1;
}

static int32_t find_and_load(const struct conf *conf, const char *name, struct entry **out,
                             par_error *error)
{
	struct lookup file;
	int32_t status = lookup_name(conf, name, &file, error);

	if (status < 0)
		return status;
	/* Not remembered: it is cured by a chmod of any folder above the file. */
	status = trust_check(file.path, error);
	if (status < 0) {
		error_prefix(error, "cannot load backend \"%s\"", name);
		lookup_finish(&file);
		return status;
	}
	pthread_mutex_lock(&table.lock);
	status = claim(name, &file, out, error);
	pthread_mutex_unlock(&table.lock);
	lookup_finish(&file);
	return status == 1 ? load(*out, error) : status;
}

const struct provider *registry_loaded(const char *name)
{
	struct entry *entry;

	pthread_mutex_lock(&table.lock);
	entry = find_settled(name);
	pthread_mutex_unlock(&table.lock);
	return entry != NULL && entry->state == LOADED ? &entry->provider : NULL;
}

int32_t registry_find(const char *name, const struct provider **out, par_error *error)
{
	const struct conf *conf;
	struct entry *entry = NULL;
	int32_t status;

	pthread_mutex_lock(&table.lock);
	table.in_use = 1;
	pthread_mutex_unlock(&table.lock);
	*out = registry_loaded(name);
	if (*out != NULL)
		return PAR_OK;
	conf = conf_get(error);
	if (conf == NULL)
		return error == NULL ? PAR_ECONFIG : error->code;
	status = find_and_load(conf, name, &entry, error);
	if (status == PAR_OK)
		*out = &entry->provider;
	return status;
}

/* --- options ------------------------------------------------------------------------------- */

/* The note of a backend in [lazy] was not read at start; so this may be the first
 * time that its section is checked. */
static int32_t set_configured(struct par_options *options, const struct conf *conf,
                              const char *name, par_error *error)
{
	const struct conf_backend *backend = conf_find_backend(conf, name);

	for (size_t i = 0; backend != NULL && i < backend->n_options; i++) {
		const struct conf_entry *entry = &backend->options[i];
		int32_t status = options_set(options, entry->key, entry->value, error);

		if (status == PAR_OK)
			continue;
		error_prefix(error, "plugins.conf:%d: [backend %s] ", entry->line, name);
		error_file(error, "%s", conf->file);
		return status;
	}
	return PAR_OK;
}

static int32_t set_one(struct par_options *options, const char *name, const char *setting,
                       par_error *error)
{
	const char *equals = strchr(setting, '=');
	char *key;
	int32_t status;

	if (equals == NULL || equals == setting) {
		error_set(error, PAR_ECONFIG, "an option for backend \"%s\"", name);
		error_reason(error, "\"%.60s\" is not of the form key=value", setting);
		return PAR_ECONFIG;
	}
	key = strndup(setting, (size_t)(equals - setting));
	if (key == NULL)
		return error_memory(error, "setting an option");
	status = options_set(options, key, equals + 1, error);
	if (status < 0)
		error_prefix(error, "backend \"%s\": ", name);
	free(key);
	return status;
}

static int32_t set_all(struct par_options *options, const struct provider *provider,
                       const char *const *settings, par_error *error)
{
	const struct conf *conf = conf_get(error);
	int32_t status;

	if (conf == NULL)
		return error == NULL ? PAR_ECONFIG : error->code;
	status = set_configured(options, conf, provider->name, error);
	for (size_t i = 0; status == PAR_OK && settings != NULL && settings[i] != NULL; i++)
		status = set_one(options, provider->name, settings[i], error);
	if (status == PAR_OK)
		status = options_complete(options, provider->name, error);
	return status;
}

int32_t registry_options(const struct provider *provider, const char *const *settings,
                         struct par_options **out, par_error *error)
{
	struct par_options *options = options_create(provider->schema);
	int32_t status;

	if (options == NULL)
		return error_memory(error, "setting options");
	status = set_all(options, provider, settings, error);
	if (status < 0)
		options_destroy(options);
	else
		*out = options;
	return status;
}

/* --- which configuration ------------------------------------------------------------------- */

int32_t par_configure(const char *plugins_conf, par_error *error)
{
	int in_use;

	pthread_mutex_lock(&table.lock);
	in_use = table.in_use;
	pthread_mutex_unlock(&table.lock);
	if (!in_use)
		return conf_use(plugins_conf, error);
	error_set(error, PAR_EINVAL, "par_configure");
	error_reason(error, "a backend was used already, under another configuration");
	error_remedy(error, "call it first of all");
	return PAR_EINVAL;
}

const char *par_config_file(void)
{
	return conf_file();
}

const char *par_default_backend(void)
{
	const struct conf *conf = conf_get(NULL);

	return conf == NULL ? "threading" : conf->default_backend;
}
