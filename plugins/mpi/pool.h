/* pool.h - the workers of one instance, on its loop: which of them gets a batch, and what becomes
 * of those that a job took along.
 *
 * The first job starts in configure(), another when there is work and none is there.  A batch goes
 * to the worker with the fewest, but rather not behind one that is slow; each runs its batches in their order.  When a job dies, the
 * batches of the worker that began it are given back as lost; of the others those that they may
 * have begun are given back unharmed, and the rest waits for the next job.
 *
 * A job that nobody uses any more is parked for the next instance with the same options; it ends
 * by itself after a while, and with the program. */
#ifndef POOL_H
#define POOL_H

#include "job.h"

/* A batch that is out. */
struct errand {
	struct errand *next;
	par_batch batch;
	int worker;
	int was_sent; /* to the job that is there */
	par_encoded encoded;
};

/* The batches of one worker, in their order. */
struct queue {
	struct errand *first, **end;
	int n;
	uint64_t heard; /* batches that the pool had got back when it answered, or began to work */
};

struct pool {
	const par_host *host;
	const par_ext_encode *encoding;
	const par_ext_timer *timer;
	struct settings settings;
	struct launch launch;

	int n_jobs;
	struct queue *queues; /* n_jobs */
	int n_out;
	uint64_t n_back;
	struct errand *spare;

	struct job *job;      /* that runs, or starts; NULL: none */
	struct job *leaving;  /* those that end */
	struct job *dead;     /* to be destroyed when nobody is in them */
	par_answer *answer;   /* while configure() is pending; else NULL */
	int is_terminating;
	int aborts;           /* what is out is not wanted any more */
	par_watch *grace;
	par_error why;        /* the last job could not start */
};

int32_t pool_init(struct pool *pool, const par_host *host, par_error *error);
void pool_finish(struct pool *pool);

/* May be PAR_PENDING, both. */
int32_t pool_start(struct pool *pool, par_answer *answer, par_error *error);
int32_t pool_stop(struct pool *pool);

/* The operations of backend.h. */
void pool_end_call(struct pool *pool);
int32_t pool_submit(struct pool *pool, par_batch batch, void **future, par_error *error);
int32_t pool_poll(struct pool *pool);
int32_t pool_kill(struct pool *pool, par_batch batch, int worker);
void pool_abort(struct pool *pool);

#endif
