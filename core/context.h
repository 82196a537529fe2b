/* context.h - what a call made inside a task inherits: travels with the batch, and is
 * installed around its tasks on whatever thread runs them. */
#ifndef CORE_CONTEXT_H
#define CORE_CONTEXT_H

#include <stdint.h>

struct context {
	int32_t level;       /* of nesting: 0 outside of any task; a backend may say    */
	int32_t n_jobs;      /* for a nested call that does not say; 0: unset           */
	const char *backend; /* likewise; NULL: unset.  Outlives the tasks that see it. */
	const char *const *options; /* "key=value" of that backend; NULL: none           */
	int32_t depth; /* of nesting, as it is: see level                               */
};

/* This thread's. */
const struct context *context_current(void);

/* Install another for a while; returns what to restore. */
struct context context_swap(struct context context);

#endif
