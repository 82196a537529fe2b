/* The backends that can be named, for "parloop backends" and "parloop show": read
 * anew from configuration and notes at each call, so nothing of it is shared. */
#include "conf.h"
#include "error.h"
#include "loader.h"
#include "lookup.h"
#include "note.h"
#include "paths.h"
#include "registry.h"
#include "scan.h"
#include "trust.h"

#include <parloop/parloop.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A name and what is known of it; the texts are those of conf and scan. */
struct item {
	const char *name;
	const char *file;
	const struct note *note;  /* NULL: lazy or broken */
	struct note *own_note;    /* if it is nobody else's */
	char *own_text;
	int32_t state;
	par_error error;
};

struct listing {
	const struct conf *conf;
	struct scan scan;
	struct item *items;
	size_t n_items;
};

const char *const *par_plugin_dirs(void)
{
	static const char *built_in[2];
	const struct conf *conf = conf_get(NULL);

	if (conf != NULL)
		return (const char *const *)conf->plugin_dirs;
	__atomic_store_n(&built_in[0], paths_plugin_dir(), __ATOMIC_RELAXED);
	return built_in;
}

/* --- collecting ---------------------------------------------------------------------------- */

static int is_listed(const struct listing *listing, const char *name)
{
	for (size_t i = 0; i < listing->n_items; i++)
		if (strcmp(listing->items[i].name, name) == 0)
			return 1;
	return 0;
}

static struct item *add_item(struct listing *listing, const char *name, const char *file,
                             par_error *error)
{
	struct item *grown;

	grown = reallocarray(listing->items, listing->n_items + 1, sizeof(*grown));
	if (grown == NULL) {
		error_memory(error, "listing the backends");
		return NULL;
	}
	listing->items = grown;
	grown += listing->n_items++;
	*grown = (struct item){.name = name, .file = file, .state = PAR_STATE_AVAILABLE};
	return grown;
}

/* Of one that its loader has yet to register nothing is known but what to do if it cannot. */
static void describe_registered(struct item *item, const struct registered *registered)
{
	item->note = registered->note;
	item->state = registered->note != NULL ? PAR_STATE_LINKED : PAR_STATE_LAZY;
	if (registered->note == NULL && registered->hint != NULL)
		error_remedy(&item->error, "%s", registered->hint);
}

/* What would keep it from being loaded, as far as that can be known without running any of it. */
static int32_t look_for_faults(struct item *item, par_error *error)
{
	int32_t status = trust_check(item->file, &item->error);

	if (status == PAR_OK)
		status = loader_check(item->file, &item->error);
	if (status == PAR_ENOMEM)
		return error_memory(error, "listing the backends");
	if (status < 0)
		item->state = PAR_STATE_BROKEN;
	return PAR_OK;
}

static int32_t add_registered(struct listing *listing, par_error *error)
{
	struct registered registered;

	for (size_t i = 0; registry_registered(i, &registered); i++) {
		struct item *item = add_item(listing, registered.name, NULL, error);

		if (item == NULL)
			return PAR_ENOMEM;
		describe_registered(item, &registered);
	}
	return PAR_OK;
}

static int32_t add_configured(struct listing *listing, par_error *error)
{
	for (size_t i = 0; i < listing->conf->n_backends; i++) {
		const struct conf_backend *backend = &listing->conf->backends[i];
		struct item *item;
		int32_t status;

		if (backend->path == NULL || is_listed(listing, backend->name))
			continue;
		item = add_item(listing, backend->name, backend->path, error);
		if (item == NULL)
			return PAR_ENOMEM;
		status = note_read(&item->own_note, backend->path, &item->error);
		if (status == PAR_ENOMEM)
			return error_memory(error, "listing the backends");
		item->note = item->own_note;
		if (status < 0)
			item->state = PAR_STATE_BROKEN;
		else if (look_for_faults(item, error) < 0)
			return PAR_ENOMEM;
	}
	return PAR_OK;
}

/* What somebody asked for before need not be kept shut any longer. */
static void look_at_loaded(struct item *item)
{
	const struct provider *provider = registry_loaded(item->name);

	item->state = PAR_STATE_LAZY;
	if (provider == NULL || note_read(&item->own_note, provider->file, &item->error) < 0)
		return;
	item->state = PAR_STATE_AVAILABLE; /* until fill_note sees that it is loaded */
	item->file = provider->file;
	item->note = item->own_note;
}

static int32_t add_lazy(struct listing *listing, par_error *error)
{
	for (size_t i = 0; i < listing->conf->n_lazy; i++) {
		const struct conf_lazy *lazy = &listing->conf->lazy[i];
		struct item *item;

		if (is_listed(listing, lazy->name))
			continue;
		item = add_item(listing, lazy->name, lazy->file, error);
		if (item == NULL)
			return PAR_ENOMEM;
		look_at_loaded(item);
	}
	return PAR_OK;
}

/* A broken file has the name that it would be asked for by. */
static int32_t add_broken(struct listing *listing, const struct scan_file *file,
                          par_error *error)
{
	char *stem = paths_stem(file->path);
	struct item *item;

	if (stem == NULL)
		return error_memory(error, "listing the backends");
	if (is_listed(listing, stem)) {
		free(stem);
		return PAR_OK;
	}
	item = add_item(listing, stem, file->path, error);
	if (item == NULL) {
		free(stem);
		return PAR_ENOMEM;
	}
	item->own_text = stem;
	item->state = PAR_STATE_BROKEN;
	item->error = file->error;
	return PAR_OK;
}

static int32_t add_file(struct listing *listing, const struct scan_file *file, par_error *error)
{
	for (size_t i = 0; file->note != NULL && i < file->note->n_backends; i++) {
		struct item *item;

		if (is_listed(listing, file->note->backends[i].name))
			continue;
		item = add_item(listing, file->note->backends[i].name, file->path, error);
		if (item == NULL)
			return PAR_ENOMEM;
		item->note = file->note;
		if (look_for_faults(item, error) < 0)
			return PAR_ENOMEM;
	}
	return PAR_OK;
}

/* The good ones first, so that a broken file does not hide a name that another offers. */
static int32_t add_dropped(struct listing *listing, par_error *error)
{
	int32_t status = PAR_OK;

	for (size_t i = 0; status == PAR_OK && i < listing->scan.n_files; i++)
		status = add_file(listing, &listing->scan.files[i], error);
	for (size_t i = 0; status == PAR_OK && i < listing->scan.n_files; i++)
		if (listing->scan.files[i].note == NULL)
			status = add_broken(listing, &listing->scan.files[i], error);
	return status;
}

static int compare_items(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static int32_t collect(struct listing *listing, par_error *error)
{
	int32_t status;

	status = scan_dirs(&listing->scan, (const char *const *)listing->conf->plugin_dirs, error);
	if (status < 0)
		return status;
	lookup_report_losers(&listing->scan);
	status = add_registered(listing, error);
	if (status == PAR_OK)
		status = add_configured(listing, error);
	if (status == PAR_OK)
		status = add_lazy(listing, error);
	if (status == PAR_OK)
		status = add_dropped(listing, error);
	if (listing->n_items > 0)
		qsort(listing->items, listing->n_items, sizeof(*listing->items), compare_items);
	return status;
}

static void listing_finish(struct listing *listing)
{
	for (size_t i = 0; i < listing->n_items; i++) {
		note_destroy(listing->items[i].own_note);
		free(listing->items[i].own_text);
	}
	free(listing->items);
	scan_finish(&listing->scan);
}

/* --- telling ------------------------------------------------------------------------------- */

/* What plugins.conf sets; a secret is only said to be set, not what it is. */
static const char *configured_value(const struct conf *conf, const char *name,
                                    const struct option *option)
{
	const struct conf_backend *backend = conf_find_backend(conf, name);

	for (size_t i = 0; backend != NULL && !option->secret && i < backend->n_options; i++)
		if (strcmp(backend->options[i].key, option->key) == 0)
			return backend->options[i].value;
	return NULL;
}

static void fill_options(par_option_info *infos, const struct conf *conf,
                         const struct note_backend *backend)
{
	for (size_t i = 0; i < backend->schema.n_options; i++) {
		const struct option *option = &backend->schema.options[i];

		infos[i] = (par_option_info){
			.size = sizeof(infos[i]),
			.required = option->required,
			.secret = option->secret,
			.key = option->key,
			.type = options_type_name(option->type),
			.fallback = option->fallback,
			.range = option->range,
			.help = option->help,
			.value = configured_value(conf, backend->name, option),
		};
	}
}

static void fill_note(par_backend_info *info, const struct note *note,
                      const struct note_backend *backend, char *abi, size_t size)
{
	(void)snprintf(abi, size, "%d.%d", note->abi_major, note->abi_minor);
	info->abi = abi;
	info->version = note->version;
	info->summary = backend->summary;
	info->capabilities = backend->words;
	info->n_options = (uint32_t)backend->schema.n_options;
	if (info->state == PAR_STATE_AVAILABLE && registry_loaded(backend->name) != NULL)
		info->state = PAR_STATE_LOADED;
}

/* Returns what fn does, or a code. */
static int32_t tell(const struct conf *conf, const struct item *item,
                    int32_t (*fn)(void *user, const par_backend_info *info), void *user,
                    int32_t *answer, par_error *error)
{
	const struct note_backend *backend;
	par_option_info *options = NULL;
	const par_option_info **places = NULL;
	char abi[32];
	par_backend_info info = {
		.size = sizeof(info),
		.state = item->state,
		.name = item->name,
		.file = item->file,
		.version = "",
		.summary = "",
		.capabilities = "",
		.abi = "",
		.reason = item->error.reason,
		.remedy = item->error.remedy,
	};

	backend = item->note == NULL ? NULL : note_find(item->note, note_plain_name(item->name));
	if (backend != NULL) {
		fill_note(&info, item->note, backend, abi, sizeof(abi));
		options = calloc(backend->schema.n_options + 1, sizeof(*options));
		places = calloc(backend->schema.n_options + 1, sizeof(*places));
		if (options == NULL || places == NULL) {
			free(options);
			free(places);
			return error_memory(error, "listing the backends");
		}
		fill_options(options, conf, backend);
		for (size_t i = 0; i < backend->schema.n_options; i++)
			places[i] = &options[i];
		info.options = places;
	}
	*answer = fn(user, &info);
	free(options);
	free(places);
	return PAR_OK;
}

int32_t par_each_backend(int32_t (*fn)(void *user, const par_backend_info *info), void *user,
                         par_error *error)
{
	struct listing listing = {.conf = conf_get(error)};
	int32_t status, answer = 0;

	if (listing.conf == NULL)
		return error == NULL ? PAR_ECONFIG : error->code;
	status = collect(&listing, error);
	for (size_t i = 0; status == PAR_OK && answer == 0 && i < listing.n_items; i++)
		status = tell(listing.conf, &listing.items[i], fn, user, &answer, error);
	listing_finish(&listing);
	return status;
}

static int find_registered(const char *name, struct registered *registered)
{
	for (size_t i = 0; registry_registered(i, registered); i++)
		if (strcmp(registered->name, name) == 0)
			return 1;
	return 0;
}

int32_t par_show_backend(const char *name,
                         int32_t (*fn)(void *user, const par_backend_info *info), void *user,
                         par_error *error)
{
	const struct conf *conf = conf_get(error);
	const char *also[REGISTERED_NAMES + 1];
	struct registered registered;
	struct lookup found = {0};
	struct item item;
	int32_t status, answer;

	if (conf == NULL)
		return error == NULL ? PAR_ECONFIG : error->code;
	if (name == NULL)
		name = registry_default(conf);
	item = (struct item){.name = name};
	if (find_registered(note_plain_name(name), &registered)) {
		describe_registered(&item, &registered);
	} else {
		registry_names(also);
		status = lookup_name(conf, name, also, &found, error);
		if (status < 0)
			return status;
		item.file = found.path;
		item.note = found.note;
	}
	status = tell(conf, &item, fn, user, &answer, error);
	lookup_finish(&found);
	return status;
}
