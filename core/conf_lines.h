/* conf_lines.h - an INI file as a series of sections and entries, each with its line.
 *
 * libinih splits the lines; it knows no line numbers, no empty sections, and cuts
 * what is long, so the lines are counted, and what it would pass over is found,
 * here.  A comment has a line of its own; a value ends with its line. */
#ifndef CORE_CONF_LINES_H
#define CORE_CONF_LINES_H

#include <parloop/error.h>

struct conf_lines {
	/* Called in the order of the file; texts are valid until they return. */
	void (*section)(void *user, int line, const char *name);
	void (*entry)(void *user, int line, const char *key, const char *value);
	/* A line that is neither, nor blank nor a comment: why. */
	void (*bad)(void *user, int line, const char *why);
	void *user;
};

/* Read all of a regular file.  PAR_ECONFIG if it is not one or cannot be read. */
int32_t conf_lines_read(const struct conf_lines *lines, const char *path, par_error *error);

#endif
