#include "scan.h"

#include "error.h"
#include "log.h"

#include <parloop/parloop.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int is_plugin_name(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > 3 &&
	       strcmp(entry->d_name + length - 3, ".so") == 0;
}

/* Not alphasort, which depends on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_directory(const char *path)
{
	struct stat file;

	return stat(path, &file) == 0 && S_ISDIR(file.st_mode);
}

/* Lack of memory is ours, and does not make a file a broken one. */
static int32_t read_file(struct scan_file *file, par_error *error)
{
	int32_t status = note_read(&file->note, file->path, &file->error);
	char text[1200];

	if (status == PAR_OK)
		return PAR_OK;
	file->note = NULL;
	if (status == PAR_ENOMEM)
		return error_memory(error, "looking for plugins");
	error_prefix(&file->error, "skipped %s", file->path);
	log_line(LOG_DEBUG, "%s", par_error_text(&file->error, 0, text, sizeof(text)));
	return PAR_OK;
}

static int32_t add_file(struct scan *scan, const char *dir, const char *name, par_error *error)
{
	struct scan_file *grown;
	char *path;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return error_memory(error, "looking for plugins");
	if (is_directory(path)) {
		free(path);
		return PAR_OK;
	}
	grown = reallocarray(scan->files, scan->n_files + 1, sizeof(*grown));
	if (grown == NULL) {
		free(path);
		return error_memory(error, "looking for plugins");
	}
	scan->files = grown;
	grown[scan->n_files] = (struct scan_file){.path = path};
	return read_file(&grown[scan->n_files++], error);
}

static int32_t scan_dir(struct scan *scan, const char *dir, par_error *error)
{
	int32_t status = PAR_OK;
	struct dirent **entries;
	int n = scandir(dir, &entries, is_plugin_name, by_name);

	if (n < 0 && errno == ENOMEM)
		return error_memory(error, "looking for plugins");
	if (n < 0) {
		log_line(LOG_DEBUG, "no plugins in %s: %s", dir, strerror(errno));
		return PAR_OK;
	}
	for (int i = 0; i < n; i++) {
		if (status == PAR_OK)
			status = add_file(scan, dir, entries[i]->d_name, error);
		free(entries[i]);
	}
	free(entries);
	return status;
}

int32_t scan_dirs(struct scan *scan, const char *const *dirs, par_error *error)
{
	int32_t status = PAR_OK;

	*scan = (struct scan){0};
	for (size_t i = 0; status == PAR_OK && dirs[i] != NULL; i++)
		status = scan_dir(scan, dirs[i], error);
	if (status < 0)
		scan_finish(scan);
	return status;
}

void scan_finish(struct scan *scan)
{
	for (size_t i = 0; i < scan->n_files; i++) {
		note_destroy(scan->files[i].note);
		free(scan->files[i].path);
	}
	free(scan->files);
	*scan = (struct scan){0};
}

const struct scan_file *scan_find(const struct scan *scan, const char *name)
{
	for (size_t i = 0; i < scan->n_files; i++)
		if (scan->files[i].note != NULL && note_find(scan->files[i].note, name) != NULL)
			return &scan->files[i];
	return NULL;
}
