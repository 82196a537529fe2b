/* job.h - one MPI job, from the launcher's start to its end, and the connection to its rank 0.
 *
 * What is started is a keeper (relay/keeper.h), which has the launcher, which has the ranks.  It is
 * there when rank 0 has connected and said who the others are.  Those of this machine are known
 * by a pidfd, so that a death is seen at once, and who died first; others by what the launcher
 * says of them. */
#ifndef JOB_H
#define JOB_H

#include "launch.h"
#include "output.h"
#include "protocol.h"

#include <sys/types.h>

enum job_state {
	JOB_STARTS,
	JOB_READY,
	JOB_DYING,  /* it is known to, and not yet of what */
	JOB_LEAVES, /* nobody wants it: it ends, or is ended */
	JOB_GONE,
};

/* Of one rank; rank 0 has one too. */
struct seat {
	struct job *job;
	int rank;
	struct seat_hello hello;
	int is_near;    /* on this machine */
	int pidfd;      /* or -1 */
	par_watch *death;
	int is_dead;
	int signal, exit_code; /* 0 and -1: unknown */
};

struct kept {
	uint64_t id;
	int32_t kind;
	char *given; /* by rank */
};

/* Bytes that go from where they are, after so many others. */
struct piece {
	size_t at;
	const char *bytes;
	size_t n;
};

struct job {
	struct job *next; /* in the list of whoever has it */
	struct pool *pool; /* whose loop it is on; NULL: it is parked */
	const par_host *host;
	const par_ext_fd *watcher;
	const par_ext_timer *timer;

	enum job_state state;
	char *key;      /* of what it was started with */
	enum mpi mpi;
	int n_workers;
	pid_t pid;      /* the keeper's */
	int pidfd;
	int wait_status; /* of the keeper, which ends as the launcher did, once it is gone */
	par_watch *death, *deadline, *tick;
	int64_t since_ns;
	int was_killed;  /* by us */
	struct output output; /* quiet while it starts: then it goes into the error */
	int captures;         /* and afterwards */

	int listeners[2]; /* until it has connected */
	par_watch *calls[2];
	char token[TOKEN_CHARS + 1];
	int fd;
	par_watch *news;
	int wants_room;   /* news is for writing, too */

	char *in;
	size_t in_at, in_n, in_room;
	char *out;
	size_t out_n, out_room;
	uint64_t out_sent; /* of bytes and pieces together */
	struct piece *pieces;
	size_t n_pieces, pieces_room;
	uint64_t apart;

	struct seat *seats; /* n_workers + 1 */
	struct kept *kept;
	size_t n_kept;
};

/* Start it; pool_job_ready() or pool_job_ended() follows. */
int32_t job_start(struct job **job, struct pool *pool, const par_host *host,
                  const struct launch *launch, const struct settings *settings, int n_workers,
                  par_error *error);

/* The part of that which is about its loop. */
int32_t job_watch_start(struct job *job, int64_t timeout_ns, par_error *error);

/* Onto the loop of that pool, off it. */
int32_t job_adopt(struct job *job, struct pool *pool, const par_host *host, par_error *error);
void job_let_go(struct job *job);

/* Queue a record; large bytes stay where they are until they are sent, or the job is ended. */
int32_t job_put(struct job *job, const struct record *record, const void *bytes, uint64_t n,
                int may_stay);

/* A batch for that rank, and what it names that the rank has not. */
int32_t job_put_batch(struct job *job, int rank, uint64_t batch, const par_encoded *encoded);

/* Those that are of one call. */
void job_forget_shared(struct job *job);

/* Send what can be sent; take what came, by pool_take().  1: something came. */
void job_flush(struct job *job);
int job_hear(struct job *job);

/* End it: by itself, or now.  job_is_gone() then says when nothing is left. */
void job_leave(struct job *job);
void job_kill(struct job *job);
int job_is_alive(struct job *job);
void job_destroy(struct job *job); /* waits for a keeper that is still there */

/* By the pool, on its loop. */
void pool_job_ready(struct pool *pool, struct job *job);
void pool_take(struct pool *pool, struct job *job, const struct record *record, const char *bytes);

/* It died, or cannot start; what is known of it is in its seats.  culprit NULL: nobody knows who of
 * them it was. */
void pool_job_ended(struct pool *pool, struct job *job, const struct seat *culprit);

/* Nothing is left of one that was ended; it may be destroyed when no function of job.h runs. */
void pool_job_gone(struct pool *pool, struct job *job);

#endif
