/* scan.h - the files in the plugin directories, and what their notes say. */
#ifndef CORE_SCAN_H
#define CORE_SCAN_H

#include "note.h"

#include <parloop/error.h>

#include <stddef.h>

struct scan_file {
	char *path;
	struct note *note; /* NULL: broken */
	par_error error;   /* then why     */
};

struct scan {
	struct scan_file *files; /* in order of the directories, and by name in each */
	size_t n_files;
};

/* Read the notes of every *.so in these directories, which end in NULL; a directory
 * that does not exist has no files.  A broken file is one debug line.  Only
 * memory can fail.  Must be finished if PAR_OK. */
int32_t scan_dirs(struct scan *scan, const char *const *dirs, par_error *error);
void scan_finish(struct scan *scan);

/* The first file that offers this backend, or NULL. */
const struct scan_file *scan_find(const struct scan *scan, const char *name);

#endif
