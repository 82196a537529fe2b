/* serve.h - a worker process: par_worker_run(), par_worker_serve() and par_worker_main() of
 * worker.h, the worker's end of a channel, and who may not become one. */
#ifndef CORE_SERVE_H
#define CORE_SERVE_H

#include <parloop/worker.h>

/* Has this program called par_worker_main(), so that it can be executed as its own worker? [any] */
int serve_program_can(void);

/* Is this a worker that was executed?  Of the program it has what came before par_worker_main(). */
int serve_is_worker(void);

/* Be the worker of a channel (channel.h), whose socket and memory these are, until its end: PAR_OK.
 * Else why it cannot go on, which the parent was told.  One that was forked is set up as is said
 * here; the other is told by its first frame, and setup has its number and its parent.  Nothing is
 * freed: the process is to end. */
int32_t serve_channel(const int32_t ends[2], const par_worker_setup *setup, int is_forked,
                      par_error *error);

/* The same in a child of fork(), which it ends. */
void serve_forked(const int32_t ends[2], const par_worker_setup *setup) __attribute__((noreturn));

/* Is this process to be a worker, but on its way to being the program once more?  Then opening
 * a pool is refused, before it starts workers which do the same. [any] */
int32_t serve_guard(par_error *error);

#endif
