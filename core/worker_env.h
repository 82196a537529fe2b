/* worker_env.h - the environment for workers that are about to be started: the
 * caller's own, with the thread limits that joblib gives its workers, so that n
 * workers with a numerical library each do not make n times cores threads. */
#ifndef CORE_WORKER_ENV_H
#define CORE_WORKER_ENV_H

#include <stdint.h>

/* OMP_NUM_THREADS and its six relatives are: inner_max_num_threads if above 0; else
 * what the caller's environment says; else cores / n_workers, at least 1.  In a worker, whose
 * environment was made here, the less of the latter two: is_nested.
 * ENABLE_IPC=1, which lets TBB's processes share the cores, unless it is set.
 * Must be given back with worker_env_free(); ends in NULL.  NULL: no memory.
 * Reads environ: not while another thread changes it. [any] */
char **worker_env_make(int32_t n_workers, int32_t inner_max_num_threads, int cores, int is_nested);
void worker_env_free(char **env); /* NULL is allowed. [any] */

/* The same environment with "NAME=value" in it, in place of what has that name; NULL: no memory,
 * and env was freed.  NULL is allowed for env. [any] */
char **worker_env_put(char **env, const char *entry);

#endif
