/* environment.h - the environment of a worker: the program's with its thread limits, as the
 * core makes it; what the option env adds, where {slot} is the worker's number; and the lines
 * by which the worker knows what it is.  Later ones replace earlier ones of the same name. */
#ifndef ENVIRONMENT_H
#define ENVIRONMENT_H

#include <parloop/error.h>

#include <stdint.h>

/* Is it "NAME=value NAME='two words' ..."?  NULL is. */
int32_t environment_check(const char *variables, par_error *error);

/* Ends in NULL; one block, for free().  It points into base and lines.  NULL: no memory. */
char **environment_make(char *const *base, const char *variables, int slot, char *const *lines);

#endif
