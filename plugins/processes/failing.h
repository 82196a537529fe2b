/* failing.h - workers that cannot start, and what the core is told of how many there are.
 *
 * A worker that ends by itself before it is ready will do so again, and so after a few in a row
 * no more are started in this call.  One that is killed then may have met somebody who kills
 * workers at random; that has to go on for a while.  Where there is no room for one more worker
 * the others go on without it. */
#ifndef FAILING_H
#define FAILING_H

#include "pool.h"

/* Workers, and places for one, on which the core may count. */
void failing_tell_capacity(struct pool *pool);
int failing_count_workers(const struct pool *pool);

/* One could not be started: why, as worker_start() said. */
void failing_note_start(struct pool *pool, int32_t status, par_error *why);

/* One has died before it was ready; words are what it has said. */
void failing_note_death(struct worker *worker, const struct death *death, const char *words);

__attribute__((format(printf, 2, 3))) void failing_warn(const struct pool *pool,
                                                        const char *format, ...);

#endif
