/* state.h - what a process has that a plugin might leave behind, or change. */
#ifndef CHECK_STATE_H
#define CHECK_STATE_H

#include <stddef.h>

enum {
	STATE_THREADS = 1 << 0,
	STATE_DESCRIPTORS = 1 << 1,
	STATE_CHILDREN = 1 << 2,
	STATE_DISPOSITIONS = 1 << 3, /* of signals */
	STATE_MASK = 1 << 4,         /* of this thread */
	STATE_UMASK = 1 << 5,
	STATE_FOLDER = 1 << 6,
	STATE_LOCALE = 1 << 7,
	STATE_ENVIRONMENT = 1 << 8,
	STATE_ROUNDING = 1 << 9,
};

/* A list of it, a line each; of malloc. */
char *state_now(int what);

/* Is something there now that was not before, or gone?  The line, of which "+" says it is new;
 * of malloc.  NULL: all is as it was.  before is freed. */
char *state_changed(char *before, int what);

/* How many threads, descriptors or children there are. */
size_t state_count(int what);

#endif
