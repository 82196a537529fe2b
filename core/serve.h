/* serve.h - a worker process: par_worker_run(), par_worker_serve() and par_worker_main() of
 * worker.h, and who may not become one. */
#ifndef CORE_SERVE_H
#define CORE_SERVE_H

#include <parloop/worker.h>

/* Has this program called par_worker_main(), so that it can be executed as its own worker? [any] */
int serve_program_can(void);

/* Is this process to be a worker, but on its way to being the program once more?  Then opening
 * a pool is refused, before it starts workers which do the same. [any] */
int32_t serve_guard(par_error *error);

#endif
