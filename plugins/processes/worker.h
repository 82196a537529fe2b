/* worker.h - one worker process, from its start to its end.
 *
 * It is known by its slot, which is its number among the workers of an instance, and by a
 * pidfd, so that neither SIGCHLD nor a process id that was used again can mislead anybody.
 * Between instances it may be kept by the executor (executor.h), on any thread. */
#ifndef WORKER_H
#define WORKER_H

#include "output.h"
#include "start.h"

/* What workers of one pool have in common; all of it is the pool's. */
struct recipe {
	const par_ext_channel *channels; /* static */
	const struct settings *settings;
	enum method method;
	const char *program;   /* NULL: forked from this process                     */
	char **env;            /* the program's, with thread limits                  */
	struct server *server; /* of METHOD_FORKSERVER                               */
};

struct worker {
	struct worker *next; /* in the list of whoever has it */
	const par_ext_channel *channels;
	par_channel *channel;
	int slot;
	pid_t pid;
	int pidfd;
	struct output output;
	int64_t own_peak; /* of this process when it was started, see worker_reap() */

	/* the pool's */
	struct pool *pool;
	par_watch *death, *news;
	int n_out;          /* batches sent and not given back                       */
	uint64_t last_used; /* the higher, the later                                 */
	uint64_t heard;     /* batches that the pool had got back when it answered,  */
	                    /* or began to work                                      */
	int is_proven;      /* it has answered in this call                          */
	int was_ready;      /* at some time                                          */
	int n_looks;        /* while it started                                      */
	int is_late;        /* it was killed since it did not begin in time          */
	int retires;        /* gets nothing more to do, since it has grown           */
	int is_leaving;     /* its end was asked for                                 */
	int was_killed;     /* by us                                                 */
	int is_gone;        /* dead, and its number may be another's                 */
	int64_t first_rss, looked_ns; /* bytes after its first batch; when last seen */
	par_error why;      /* what it said itself; code PAR_OK: nothing             */

	/* the executor's */
	char *key;
	int64_t idle_until_ns;
	uint64_t polled_in; /* when the keeper last looked out for its death         */
};

/* How it ended. */
struct death {
	int is_known; /* nobody took its status away */
	int signal, exit_code; /* 0 and -1 where it is the other */
	int64_t peak_memory; /* bytes; 0: unknown */
};

/* A process, which is a child of this thread's.  PAR_ENOMEM: no room for one more; other errors:
 * it cannot be. */
int32_t worker_start(const struct recipe *recipe, int slot, struct worker **worker,
                     par_error *error);

/* Kill it, and whatever it started that is still in its process group. */
void worker_kill(struct worker *worker);

/* 1: it is dead, how, and nothing of it is left; 0: it lives.  Does not wait. */
int worker_reap(struct worker *worker, struct death *death);
int worker_is_dead(const struct worker *worker);

/* Ask it to end, by the end of its channel. */
void worker_dismiss(struct worker *worker);

/* Free what we have of it.  The process is not our business any more. */
void worker_destroy(struct worker *worker);

/* Its resident memory now, bytes; 0: unknown. */
int64_t worker_rss(const struct worker *worker);

#endif
