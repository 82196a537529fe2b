/* error.h - filling a par_error from inside the core.
 *
 * An error is set where it is found, with what the reader needs, and passed up
 * as it is; a caller may only put what it was doing in front. */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include <parloop/error.h>

/* Start over, with nothing in it; and as another, of this version.  Both leave its size, and
 * what is beyond. [any] */
void error_clear(par_error *error);
void error_copy(par_error *error, const par_error *from);

/* Start over: code, and what failed.  Returns the code.  error may be NULL, here
 * and below. [any] */
__attribute__((format(printf, 3, 4))) int32_t error_set(par_error *error, int32_t code,
                                                        const char *what, ...);
/* The other slots; a path too long for its slot keeps its end. */
__attribute__((format(printf, 2, 3))) void error_file(par_error *error, const char *file, ...);
__attribute__((format(printf, 2, 3))) void error_reason(par_error *error, const char *reason, ...);
__attribute__((format(printf, 2, 3))) void error_remedy(par_error *error, const char *remedy, ...);

/* Put words in front of what failed, as "plugins.conf:7: "; if nothing is there
 * yet (a plugin filled the reason only), they become it. */
__attribute__((format(printf, 2, 3))) void error_prefix(par_error *error, const char *before, ...);

/* PAR_ENOMEM in one line. */
int32_t error_memory(par_error *error, const char *what);

/* Make a caller's text fit to print: control characters as \xNN.  Returns buffer. */
char *error_escape(const char *text, size_t n, char *buffer, size_t size);

#endif
