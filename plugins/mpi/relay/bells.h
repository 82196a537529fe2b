/* bells.h - ranks that sleep, and are woken.
 *
 * MPI can only be asked whether something came; who has nothing to do would ask for ever.  So on
 * each machine the ranks have a word in shared memory, in which one says that it sleeps, and a
 * socket, by which another one wakes it after it has sent something.  Between machines nobody can
 * be woken: there one looks again and again, after longer and longer times. */
#ifndef BELLS_H
#define BELLS_H

#include <mpi.h>

#include <poll.h>
#include <stdint.h>

enum { BELL_NAME = 16 };

/* Of one rank, in memory that the ranks of its machine share. */
struct bell_words {
	_Alignas(64) int32_t sleeps;
	int32_t stopping; /* what it runs is to end */
	int32_t awaited;  /* it was sent a message that it has to take before the next can go */
	uint64_t n_sent;  /* batches, of all */
};

struct bells {
	int rank, n_ranks;
	int fd;
	MPI_Comm machine;
	MPI_Win window;
	struct bell_words **words;  /* by rank; NULL: it is on another machine */
	char (*names)[BELL_NAME];   /* of its socket */
	int n_near;                 /* ranks of this machine */
};

/* 0, or -1 with a message on standard error.  All ranks at once. */
int bells_open(struct bells *bells);
void bells_close(struct bells *bells);

/* After something was sent to that rank. */
void bells_ring(struct bells *bells, int rank);

/* Can it? */
int bells_rings(const struct bells *bells, int rank);

/* That rank is to ring when it takes what it was sent; has it not yet?  And: this rank takes something,
 * 1: the other waits for that. */
void bells_await(struct bells *bells, int rank);
int bells_awaits(const struct bells *bells, int rank);
int bells_tell_taken(struct bells *bells, int rank);

/* Is there a message from that rank (or MPI_ANY_SOURCE)?  An MPI may first look among what it has
 * taken from its queues, and then take what is there, so it is asked twice. */
int bells_probe(int rank, MPI_Status *status);

/* Between these two look once more for whatever is waited for. */
void bells_lie_down(struct bells *bells);
void bells_get_up(struct bells *bells);

/* Sleep until somebody rings (1), or another descriptor is ready, or for that time (-1: any). */
int bells_sleep(struct bells *bells, struct pollfd *other, int64_t ns);

int64_t bells_now(void);

/* How long to sleep if nothing has come since then, where nobody rings. */
int64_t bells_patience(int64_t since_ns, int64_t now_ns);

#endif
