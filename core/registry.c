#include "registry.h"

#include "conf.h"
#include "error.h"
#include "forked.h"
#include "loader.h"
#include "lookup.h"
#include "probe.h"
#include "serve.h"
#include "trust.h"

#include <parloop/parloop.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum state { IDLE, LOADING, LOADED, FAILED };

/* In order of the lookup. */
enum kind { LINKED, EXTERNAL, PLUGIN };

/* A name that the program registered, or that somebody asked for and whose file was found. */
struct entry {
	struct entry *next;
	char *nested_name;        /* NOTE_NESTED, and then ... */
	const char *name;         /* ... this, which is a part of it */
	enum kind kind;
	par_factory_fn factory;   /* LINKED */
	par_loader_fn loader;     /* EXTERNAL */
	char *hint;               /* EXTERNAL; may be NULL */
	enum state state;
	struct entry *around;     /* LOADING: which the same thread is loading meanwhile */
	struct entry *waits_for;  /* LOADING: which must be there first */
	struct lookup file;       /* PLUGIN, if LOADED or FAILED: what was tried; LINKED: a note */
	struct provider provider, nested; /* LOADED */
	par_error why;            /* FAILED */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock; the newest first; an entry is never removed, and LOADED never changes
	 * again */
	struct entry *entries;
	int in_use;
	const char *default_name; /* NULL: plugins.conf's */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
FORKED_RENEWS(table.lock);

/* What this thread is loading, innermost. */
static _Thread_local struct entry *inside;

/* --- under the lock ------------------------------------------------------------------------ */

static struct entry *find_entry(const char *name)
{
	struct entry *found = NULL;

	for (struct entry *entry = table.entries; entry != NULL; entry = entry->next)
		if ((found == NULL || entry->kind < found->kind) && strcmp(entry->name, name) == 0)
			found = entry;
	return found;
}

/* To wait for an entry would be to wait for oneself, perhaps by way of other threads. */
static int would_hang(const struct entry *entry)
{
	while (entry != NULL && entry != inside)
		entry = entry->waits_for;
	return entry != NULL;
}

/* As find_entry, but nobody is loading it any more, except if this thread is. */
static struct entry *find_settled(const char *name)
{
	struct entry *entry;

	while ((entry = find_entry(name)) != NULL && entry->state == LOADING &&
	       !would_hang(entry)) {
		if (inside != NULL)
			inside->waits_for = entry;
		pthread_cond_wait(&table.changed, &table.lock);
		if (inside != NULL)
			inside->waits_for = NULL;
	}
	return entry;
}

static void begin_loading(struct entry *entry)
{
	entry->state = LOADING;
	entry->around = inside;
	if (inside != NULL)
		inside->waits_for = entry;
	inside = entry;
}

static void end_loading(struct entry *entry, enum state state)
{
	inside = entry->around;
	if (inside != NULL)
		inside->waits_for = NULL;
	entry->state = state;
	pthread_cond_broadcast(&table.changed);
}

static struct entry *make_entry(const char *name, enum kind kind)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (entry == NULL)
		return NULL;
	entry->kind = kind;
	if (asprintf(&entry->nested_name, NOTE_NESTED "%s", name) < 0) {
		free(entry);
		return NULL;
	}
	entry->name = note_plain_name(entry->nested_name);
	return entry;
}

static struct entry *add_entry(struct entry *entry)
{
	if (entry == NULL)
		return NULL;
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

/* Of the note. */
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

static int32_t load_file(struct entry *entry, par_error *error)
{
	const struct conf *conf = conf_get(NULL);
	int32_t status = loader_check(entry->file.path, error);

	if (status == PAR_OK)
		status = probe_file(conf != NULL ? conf->probe : PROBE_AUTO, entry->file.path, entry->name, error);
	if (status < 0)
		return status;
	return loader_load(entry->file.path, entry->file.note, entry->name, &entry->provider.ops, error);
}

/* The entry is LOADING, so it is this thread's alone; the lock is not held. */
static int32_t load(struct entry *entry, par_error *error)
{
	par_error why = PAR_ERROR_INIT;
	int32_t status;

	fill_provider(entry);
	if (entry->kind == LINKED)
		status = loader_link(entry->factory, entry->name, &entry->provider.ops, &why);
	else
		status = load_file(entry, &why);
	if (status < 0)
		error_prefix(&why, why.what[0] == '\0' ? "cannot load backend \"%s\""
		                                       : "cannot load backend \"%s\": ", entry->name);
	entry->nested = entry->provider;
	entry->nested.name = entry->nested_name;
	entry->nested.base = &entry->provider;
	pthread_mutex_lock(&table.lock);
	entry->why = why;
	end_loading(entry, status < 0 ? FAILED : LOADED);
	pthread_mutex_unlock(&table.lock);
	if (status < 0 && error != NULL)
		error_copy(error, &why);
	return status;
}

static int32_t asked_by_loader(const char *name, par_error *error)
{
	error_set(error, PAR_EUNAVAIL, "cannot load backend \"%s\"", name);
	error_reason(error, "what loads it asks for it itself");
	error_remedy(error, "have its loader register it, and use it only afterwards");
	return PAR_EUNAVAIL;
}

static int32_t tell_again(const struct entry *failed, par_error *error)
{
	if (error != NULL)
		error_copy(error, &failed->why);
	return failed->why.code;
}

/* Make the entry this thread's to load, with this file (which it takes); or say
 * what somebody else came to.  1: load it, else the status. */
static int32_t claim(const char *name, struct lookup *file, struct entry **out, par_error *error)
{
	struct entry *entry = find_settled(name);

	if (entry == NULL || entry->kind != PLUGIN)
		entry = add_entry(make_entry(name, PLUGIN));
	if (entry == NULL)
		return error_memory(error, "loading a backend");
	if (entry->state == LOADING)
		return asked_by_loader(name, error);
	*out = entry;
	if (entry->state == LOADED)
		return PAR_OK;
	/* That memory was short then says nothing about now. */
	if (entry->state == FAILED && entry->why.code != PAR_ENOMEM &&
	    is_unchanged(&entry->file, file))
		return tell_again(entry, error);
	lookup_finish(&entry->file);
	entry->file = *file;
	*file = (struct lookup){0};
	begin_loading(entry);
	return 1;
}

static int32_t find_and_load(const struct conf *conf, const char *name, struct entry **out,
                             par_error *error)
{
	const char *also[REGISTERED_NAMES + 1];
	struct lookup file;
	int32_t status;

	registry_names(also);
	status = lookup_name(conf, name, also, &file, error);
	if (status < 0)
		return status;
	name = note_plain_name(name);
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

static const struct provider *provider_of(const struct entry *entry, const char *name)
{
	return note_plain_name(name) == name ? &entry->provider : &entry->nested;
}

const struct provider *registry_loaded(const char *name)
{
	struct entry *entry;

	pthread_mutex_lock(&table.lock);
	entry = find_settled(note_plain_name(name));
	pthread_mutex_unlock(&table.lock);
	return entry != NULL && entry->state == LOADED ? provider_of(entry, name) : NULL;
}

const struct provider *registry_loaded_of(const char *file, size_t i)
{
	const struct provider *found = NULL;

	pthread_mutex_lock(&table.lock);
	for (struct entry *entry = table.entries; entry != NULL && found == NULL; entry = entry->next)
		if (entry->kind == PLUGIN && entry->state == LOADED && strcmp(entry->provider.file, file) == 0 &&
		    i-- == 0)
			found = &entry->provider;
	pthread_mutex_unlock(&table.lock);
	return found;
}

/* The loader registers the name, or says why not, unless it forgets to. */
static int32_t run_loader(struct entry *entry, par_error *error)
{
	par_error why = PAR_ERROR_INIT;
	int32_t status = entry->loader(entry->name, &why);
	struct entry *now;

	pthread_mutex_lock(&table.lock);
	end_loading(entry, IDLE);
	now = find_entry(entry->name);
	pthread_mutex_unlock(&table.lock);
	if (status >= 0 && now->kind == LINKED)
		return PAR_OK;
	why.code = status < 0 ? status : PAR_EUNAVAIL;
	if (status >= 0)
		error_reason(&why, "its loader returned without having registered it");
	if (why.what[0] == '\0')
		error_prefix(&why, "cannot load backend \"%s\"", entry->name);
	if (why.remedy[0] == '\0' && entry->hint != NULL)
		error_remedy(&why, "%s", entry->hint);
	if (error != NULL)
		error_copy(error, &why);
	return why.code;
}

/* What the program registered under that name, loaded; 1: nothing. */
static int32_t find_registered(const char *name, struct entry **out, par_error *error)
{
	struct entry *entry;
	int32_t status = 1;

	pthread_mutex_lock(&table.lock);
	table.in_use = 1;
	entry = *out = find_settled(name);
	if (entry != NULL && entry->state == LOADED)
		status = PAR_OK;
	else if (entry != NULL && entry->state == LOADING)
		status = asked_by_loader(name, error);
	else if (entry != NULL && entry->kind == LINKED && entry->state == FAILED)
		status = tell_again(entry, error);
	else if (entry != NULL && entry->kind != PLUGIN)
		begin_loading(entry);
	pthread_mutex_unlock(&table.lock);
	if (status != 1 || entry == NULL || entry->kind == PLUGIN)
		return status;
	if (entry->kind == LINKED)
		return load(entry, error);
	status = run_loader(entry, error);
	return status < 0 ? status : find_registered(name, out, error);
}

/* What the program does after that is not done in its workers. */
static void explain_worker(par_error *error)
{
	char remedy[sizeof(error->remedy)];

	if (error == NULL || !serve_is_worker())
		return;
	memcpy(remedy, error->remedy, sizeof(remedy));
	error_remedy(error, "this is a worker: what the program registers is there if that comes "
	             "before par_worker_main(); else %s", remedy);
}

int32_t registry_find(const char *name, const struct provider **out, par_error *error)
{
	const struct conf *conf;
	struct entry *entry = NULL;
	int32_t status = find_registered(note_plain_name(name), &entry, error);

	*out = NULL;
	if (status == 1) {
		conf = conf_get(error);
		if (conf == NULL)
			return error == NULL ? PAR_ECONFIG : error->code;
		status = find_and_load(conf, name, &entry, error);
	}
	if (status == PAR_ENOTFOUND)
		explain_worker(error);
	if (status == PAR_OK)
		*out = provider_of(entry, name);
	return status;
}

/* --- registering --------------------------------------------------------------------------- */

static int32_t check_new(const char *name, int is_callable, par_error *error)
{
	char shown[80];

	if (name != NULL && note_is_name(name) && is_callable)
		return PAR_OK;
	error_set(error, PAR_EINVAL, "cannot register backend \"%s\"",
	          name == NULL ? "" : error_escape(name, strlen(name), shown, sizeof(shown)));
	if (name != NULL && note_plain_name(name) != name)
		error_reason(error, "names that begin with " NOTE_NESTED " are the core's own");
	else if (is_callable)
		error_reason(error, "a backend's name is [a-z][a-z0-9_-]*, at most 32 letters");
	else
		error_reason(error, "there is no function to get it from");
	return PAR_EINVAL;
}

/* Is there a line "backend ..." in it? */
static int names_backend(const char *note)
{
	return strncmp(note, "backend ", 8) == 0 || strstr(note, "\nbackend ") != NULL;
}

/* The note, with the head that was left out. */
static int32_t read_note(const char *name, const char *text, struct note **note, par_error *error)
{
	char abi[40] = "", backend[80] = "", *whole;
	int32_t status;

	if (text == NULL)
		text = PAR_CAPABILITIES("shares_memory");
	if (strncmp(text, "abi ", 4) != 0) {
		(void)snprintf(abi, sizeof(abi), "abi %d.%d\n", PAR_ABI_MAJOR, PAR_ABI_MINOR);
		if (!names_backend(text))
			(void)snprintf(backend, sizeof(backend),
			               "backend %s linked into the program\n", name);
	}
	if (asprintf(&whole, "%s%s%s", abi, backend, text) < 0)
		return error_memory(error, "registering a backend");
	status = note_parse(note, whole, strlen(whole) + 1, error);
	free(whole);
	if (status == PAR_OK && note_find(*note, name) == NULL) {
		error_set(error, PAR_EINVAL, "%s", "");
		error_reason(error, "its note describes \"%s\", not \"%s\"",
		             (*note)->backends[0].name, name);
		note_destroy(*note);
		status = PAR_EINVAL;
	}
	if (status < 0 && status != PAR_ENOMEM)
		error_prefix(error, "cannot register backend \"%s\"", name);
	return status;
}

int32_t par_register_backend(const char *name, par_factory_fn factory, const char *text,
                             int32_t make_default, par_error *error)
{
	struct note *note = NULL;
	struct entry *entry;
	int32_t status = check_new(name, factory != NULL, error);

	if (status == PAR_OK)
		status = read_note(name, text, &note, error);
	if (status < 0)
		return status;
	entry = make_entry(name, LINKED);
	if (entry == NULL) {
		note_destroy(note);
		return error_memory(error, "registering a backend");
	}
	entry->factory = factory;
	entry->file.note = note;
	pthread_mutex_lock(&table.lock);
	add_entry(entry);
	if (make_default)
		table.default_name = entry->name;
	pthread_mutex_unlock(&table.lock);
	return PAR_OK;
}

int32_t par_register_external(const char *name, par_loader_fn loader, const char *hint,
                              par_error *error)
{
	struct entry *entry;
	int32_t status = check_new(name, loader != NULL, error);

	if (status < 0)
		return status;
	entry = make_entry(name, EXTERNAL);
	if (entry != NULL && hint != NULL && (entry->hint = strdup(hint)) == NULL) {
		free(entry->nested_name);
		free(entry);
		entry = NULL;
	}
	if (entry == NULL)
		return error_memory(error, "registering a backend");
	entry->loader = loader;
	pthread_mutex_lock(&table.lock);
	add_entry(entry);
	pthread_mutex_unlock(&table.lock);
	return PAR_OK;
}

int registry_registered(size_t i, struct registered *out)
{
	const struct entry *entry;

	pthread_mutex_lock(&table.lock);
	for (entry = table.entries; entry != NULL; entry = entry->next)
		if (entry->kind != PLUGIN && find_entry(entry->name) == entry && i-- == 0)
			break;
	if (entry != NULL)
		*out = (struct registered){entry->name, entry->file.note, entry->hint};
	pthread_mutex_unlock(&table.lock);
	return entry != NULL;
}

void registry_names(const char *names[REGISTERED_NAMES + 1])
{
	struct registered registered;
	size_t n = 0;

	while (n < REGISTERED_NAMES && registry_registered(n, &registered))
		names[n++] = registered.name;
	names[n] = NULL;
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
	status = set_configured(options, conf, note_plain_name(provider->name), error);
	for (size_t i = 0; status == PAR_OK && settings != NULL && settings[i] != NULL; i++)
		status = set_one(options, provider->name, settings[i], error);
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
	if (status == PAR_OK)
		status = options_complete(options, provider->name, error);
	if (status < 0)
		options_destroy(options);
	else
		*out = options;
	return status;
}

int32_t registry_check_options(const struct provider *provider, const char *const *settings,
                               par_error *error)
{
	struct par_options *options = options_create(provider->schema);
	int32_t status;

	if (options == NULL)
		return error_memory(error, "setting options");
	status = set_all(options, provider, settings, error);
	options_destroy(options);
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

void registry_choose_default(const char *name)
{
	pthread_mutex_lock(&table.lock);
	table.default_name = name;
	pthread_mutex_unlock(&table.lock);
}

const char *registry_default(const struct conf *conf)
{
	const char *name;

	pthread_mutex_lock(&table.lock);
	name = table.default_name;
	pthread_mutex_unlock(&table.lock);
	return name != NULL ? name : conf == NULL ? "threading" : conf->default_backend;
}

const char *par_default_backend(void)
{
	return registry_default(conf_get(NULL));
}
