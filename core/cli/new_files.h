/* new_files.h - what `parloop new` writes, as it lies in core/cli/new/: there it is a backend of
 * the name mybackend, which compiles and runs. */
#ifndef CLI_NEW_FILES_H
#define CLI_NEW_FILES_H

#define NEW_FILES_NAME "mybackend"

struct new_file {
	const char *path;     /* in the folder that is written; may have that name in it */
	const char *language; /* that it is for; NULL: for all                           */
	const char *text;
};

extern const struct new_file new_files[]; /* ends in a path NULL */

#endif
