/* pool.h - the workers of one instance, on its loop: which of them gets a batch.  What becomes of
 * each is in tending.h, and of those that cannot start in failing.h.
 *
 * A batch goes to the worker with the fewest, and among idle ones to the one that worked last,
 * whose caches are warm.  Forked workers are started when the pool is, since their memory is
 * to be what the program's was then; programs when there is a batch that no idle worker can
 * take, so a short call does not pay for processes that it has no work for.
 *
 * A worker that dies is known by its pidfd.  What it answered before counts; what else it had
 * is given back as lost.  Its place is filled while a call is under way; and where one has died
 * others will, so from then on a spare one is kept, unless workers of different slots differ.
 * Workers that never become ready are tried a few times, and then the call is told why; those
 * that hang until then are killed after start_timeout. */
#ifndef POOL_H
#define POOL_H

#include "worker.h"

struct pool {
	const par_host *host;
	const par_ext_fd *watcher;
	const par_ext_timer *timer;
	struct settings settings;
	struct recipe recipe;
	int keeps; /* workers outlive it, in the executor */
	char *key; /* of the executor's workers that it could use */

	int n_jobs;
	struct worker **workers; /* by slot; NULL: none at the moment */
	struct worker *leaving;  /* asked to end */
	struct worker *spare;    /* for the slot of the next that dies */
	int spare_after;         /* the slot, plus 1, of which one has to have answered before    */
	                         /* another spare is started; 0: none is wanted                   */
	int has_answered;        /* it has                                                        */
	par_watch *impatience;   /* until those are killed */
	par_watch *looks;        /* at those that start */
	uint64_t n_sent, n_over; /* batches */

	int in_call;
	int aborts; /* what is out is not wanted any more */
	par_watch *grace;
	int is_terminating;

	/* of workers that cannot start, in a row */
	int n_failed, n_shot;
	int64_t shot_since_ns;
	int is_stuck; /* no more are started in this call */
	int n_told;   /* workers that the core counts on  */
	par_error why;
};

/* What is served by host and settings; nothing of it runs. */
int32_t pool_init(struct pool *pool, const par_host *host, par_error *error);

/* From configure() to terminate(); the latter may be PAR_PENDING.  finish: also if it is. */
int32_t pool_start(struct pool *pool, int n_jobs, enum method method, par_error *error);
int32_t pool_stop(struct pool *pool);
void pool_finish(struct pool *pool);

/* The operations of backend.h. */
void pool_begin_call(struct pool *pool);
void pool_end_call(struct pool *pool);
int32_t pool_submit(struct pool *pool, par_batch batch, void **future, par_error *error);
int32_t pool_poll(struct pool *pool, int32_t sleeps);
int32_t pool_kill(struct pool *pool, const void *future);
void pool_abort(struct pool *pool);

/* Batches that may be out with so many workers. */
int32_t pool_holds(int32_t n_workers);

#endif
