/* nesting.h - calls inside the tasks of calls: on what they run, how deep they may be, and how
 * many cores are theirs.
 *
 * All of it travels with a call's batches, as the context (context.h) of whoever runs its
 * tasks: into threads, processes and engines alike.  Nothing is counted in a process, where
 * threads of one worker would see the wrong level. */
#ifndef CORE_NESTING_H
#define CORE_NESTING_H

#include "context.h"
#include "registry.h"

#include <parloop/backend.h>
#include <parloop/parloop.h>

enum { NESTING_CHAIN = 1024 };

/* What the context of a call's tasks points at; it lives as long as they do. */
struct nesting {
	char chain[NESTING_CHAIN];
	char **options; /* "key=value"; NULL: none */
};

/* May a call of this thread be nested as deep as that, on that backend, which has workers or runs
 * tasks inline?  PARLOOP_MAX_DEPTH (10) calls with workers may be one in the other, and twenty
 * times as many in all.  The error names the chain. [any] */
int32_t nesting_check(const struct provider *provider, int is_inline, par_error *error);

/* What a call of this thread says of oversubscribe if it says nothing itself. [any] */
par_int nesting_oversubscribe(void);

/* Workers that the call that is described may have on that backend, whatever n_jobs it asks for:
 * its share of the cores; INT32_MAX: any number. [any] */
int32_t nesting_most(const struct provider *provider, const struct par_call *call);

/* n_jobs of the call that is described, for its backend: of a nested one negative values count from
 * its share, and what is more than that, and may not be, becomes that, with a word in the log. [any] */
int32_t nesting_n_jobs(const struct provider *provider, const struct par_call *call);

/* Who makes calls on this thread: what configure() is told of it; around is as long as the task
 * that makes them. [any] */
void nesting_describe(const struct provider *provider, struct par_call *call);

/* The context of the tasks of a call of this thread: asked was named for it (or is the default),
 * with these options; provider serves it, which asked may have named in its place, by backend,
 * with n_jobs workers; oversubscribe says whether these may be more than its share.  nesting is
 * kept until the tasks are over, and is the caller's to finish.  PAR_ENOMEM, or PAR_OK. [loop] */
int32_t nesting_begin(struct nesting *nesting, struct context *inside, const struct provider *asked,
                      const char *const *options, const struct provider *provider,
                      par_backend *backend, uint32_t capabilities, int32_t n_jobs,
                      int32_t oversubscribe);
void nesting_finish(struct nesting *nesting);

/* Cores that a call of this thread may use: all that the process has, or a nested call's
 * share of them; at least 1. [any] */
int32_t nesting_cores(void);

#endif
