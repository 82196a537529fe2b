#include "conf_check.h"

#include "error.h"
#include "log.h"
#include "nearest.h"
#include "note.h"
#include "options.h"
#include "scan.h"

#include <string.h>

struct check {
	const struct conf *conf;
	void (*tell)(void *user, int line, par_error *problem);
	void *user;
	struct scan scan;
	int scanned;
};

static void check_options(struct check *check, const struct conf_backend *backend,
                          const struct schema *schema, par_error *no_memory)
{
	struct par_options *options = options_create(schema);

	if (options == NULL) {
		error_memory(no_memory, "checking plugins.conf");
		return;
	}
	for (size_t i = 0; i < backend->n_options; i++) {
		const struct conf_entry *entry = &backend->options[i];
		par_error problem = PAR_ERROR_INIT;

		if (options_set(options, entry->key, entry->value, &problem) == PAR_OK)
			continue;
		if (problem.code == PAR_ENOMEM) {
			*no_memory = problem;
			break;
		}
		error_prefix(&problem, "[backend %s] ", backend->name);
		check->tell(check->user, entry->line, &problem);
	}
	options_destroy(options);
}

static void list_names(const struct note *note, char *buffer, size_t size)
{
	size_t used = 0;

	buffer[0] = '\0';
	for (size_t i = 0; i < note->n_backends && used < size; i++)
		used += (size_t)snprintf(buffer + used, size - used, "%s\"%s\"",
		                         i > 0 ? ", " : "", note->backends[i].name);
}

static void wrong_name(struct check *check, const struct conf_backend *backend,
                       const struct note *note)
{
	par_error problem = PAR_ERROR_INIT;
	char names[200];

	list_names(note, names, sizeof(names));
	error_set(&problem, PAR_ECONFIG, "cannot use backend \"%s\"", backend->name);
	error_file(&problem, "%s", backend->path);
	error_reason(&problem, "it offers %s, not \"%s\"", names, backend->name);
	error_remedy(&problem, "name the section after one of these");
	check->tell(check->user, backend->path_line, &problem);
}

static void check_path(struct check *check, const struct conf_backend *backend,
                       par_error *no_memory)
{
	const struct note_backend *offered;
	par_error problem = PAR_ERROR_INIT;
	struct note *note;
	int32_t status = note_read(&note, backend->path, &problem);

	if (status == PAR_ENOMEM) {
		*no_memory = problem;
		return;
	}
	if (status < 0) {
		error_prefix(&problem, "cannot use backend \"%s\"", backend->name);
		check->tell(check->user, backend->path_line, &problem);
		return;
	}
	offered = note_find(note, backend->name);
	if (offered == NULL)
		wrong_name(check, backend, note);
	else
		check_options(check, backend, &offered->schema, no_memory);
	note_destroy(note);
}

/* A section for a backend that is not installed does no harm, but a name that is
 * almost one of the installed is a slip of the pen. */
static void check_unknown(const struct check *check, const struct conf_backend *backend)
{
	struct nearest nearest = {.word = backend->name};

	for (size_t i = 0; i < check->scan.n_files; i++) {
		const struct note *note = check->scan.files[i].note;

		for (size_t j = 0; note != NULL && j < note->n_backends; j++)
			nearest_offer(&nearest, note->backends[j].name);
	}
	if (nearest.best != NULL)
		log_line(LOG_WARNING, "%s:%d: no plugin offers backend \"%s\"; did you mean "
				      "\"%s\"?",
		         check->conf->file, backend->line, backend->name, nearest.best);
}

static int32_t check_dropped(struct check *check, const struct conf_backend *backend,
                             par_error *error)
{
	const char *const *dirs = (const char *const *)check->conf->plugin_dirs;
	const struct scan_file *file;
	int32_t status = PAR_OK;

	if (!check->scanned)
		status = scan_dirs(&check->scan, dirs, error);
	if (status < 0)
		return status;
	check->scanned = 1;
	file = scan_find(&check->scan, backend->name);
	if (file == NULL)
		check_unknown(check, backend);
	else
		check_options(check, backend, &note_find(file->note, backend->name)->schema,
		              error);
	return PAR_OK;
}

int32_t conf_check(const struct conf *conf,
                   void (*tell)(void *user, int line, par_error *problem), void *user,
                   par_error *error)
{
	struct check check = {.conf = conf, .tell = tell, .user = user};
	par_error no_memory = PAR_ERROR_INIT;
	int32_t status = PAR_OK;

	for (size_t i = 0; status == PAR_OK && i < conf->n_backends; i++) {
		const struct conf_backend *backend = &conf->backends[i];

		if (backend->path != NULL)
			check_path(&check, backend, &no_memory);
		else if (conf_find_lazy(conf, backend->name) == NULL)
			status = check_dropped(&check, backend, &no_memory);
		if (no_memory.code == PAR_ENOMEM)
			status = PAR_ENOMEM;
	}
	if (check.scanned)
		scan_finish(&check.scan);
	if (status == PAR_ENOMEM)
		error_memory(error, "checking plugins.conf");
	return status;
}
