/* tending.h - the workers of a pool, each from its start to its end: what comes from it, its
 * death, another one in its place.  [loop] */
#ifndef TENDING_H
#define TENDING_H

#include "pool.h"

/* The spare or a new one in that slot; NULL: it cannot be, and pool->why says why. */
struct worker *tending_start(struct pool *pool, int slot);

/* Have a spare, if one is wanted.  It takes as long as a start does. */
void tending_keep_spare(struct pool *pool);

/* One that was started before: watch it, in its slot; or not any more. */
int32_t tending_adopt(struct pool *pool, struct worker *worker);
void tending_let_go(struct worker *worker);

/* It starts, or was sent the first that it is to do: see that it begins in time. */
void tending_look_after(struct worker *worker);
void tending_look_away(struct pool *pool);

/* Give back what it has answered; how many batches. */
int tending_hear(struct worker *worker);

/* Ask it to end.  Its slot is free at once; it is in pool->leaving until it has. */
void tending_dismiss(struct worker *worker);

/* End what is left of those, without waiting for more than that. */
void tending_finish(struct pool *pool);

#endif
