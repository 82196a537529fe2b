/* lookup.h - which file has the backend of a name, without loading any.
 *
 * The one order: [backend NAME] with a path, then [lazy], then the notes of the files
 * in the plugin directories. */
#ifndef CORE_LOOKUP_H
#define CORE_LOOKUP_H

#include "conf.h"
#include "note.h"
#include "scan.h"

#include <sys/stat.h>

struct lookup {
	char *path;
	struct note *note; /* it has the name */
	struct stat stat;  /* of the file, to tell whether it changed since */
};

/* Find the file and read its note; nested-NAME's are NAME's.  PAR_ENOTFOUND: nobody has heard
 * of the name, and the error lists what exists (also: the names that need no file, ending in
 * NULL); PAR_EUNAVAIL: known, but not to be had, and why.  Must be finished if PAR_OK. */
int32_t lookup_name(const struct conf *conf, const char *name, const char *const *also,
                    struct lookup *found, par_error *error);
void lookup_finish(struct lookup *found);

/* Say once in the process, for each file, that it offers a name that another one
 * before it has. */
void lookup_report_losers(const struct scan *scan);

/* Where a file of [lazy] is: as written if it has a slash, else in the first plugin
 * directory that has it; *path NULL: in none of them.  Only memory can fail. */
int32_t lookup_lazy_path(const struct conf *conf, const struct conf_lazy *lazy, char **path,
                         par_error *error);

#endif
