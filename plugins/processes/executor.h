/* executor.h - workers that wait for the next pool which could use them.
 *
 * One for the process.  A worker has a key, in which is all that shapes it; equal keys and
 * equal slots are interchangeable.  Pools lease whole workers and give them back, most recently
 * used first.  An idle one ends after its time-out, whatever the program does meanwhile, or when
 * there are too many of other keys.
 *
 * That is done by the keeper, a thread that is there as long as one of them is.  It also takes
 * note of those that die meanwhile.  In a fork of the program all are forgotten.  [any] */
#ifndef EXECUTOR_H
#define EXECUTOR_H

#include "worker.h"

/* What shapes a worker, as one text, for free().  NULL: no memory. */
char *executor_key(const struct recipe *recipe);

/* An idle worker with that key and slot, alive; NULL: there is none. */
struct worker *executor_lease(const char *key, int slot);

/* Start one. */
int32_t executor_start(const struct recipe *recipe, const char *key, int slot,
                       struct worker **worker, par_error *error);

/* Have it back.  One that nobody wants for that time ends; 0: now. */
void executor_give(struct worker *worker, int64_t idle_timeout_ns);

#endif
