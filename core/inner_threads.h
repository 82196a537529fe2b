/* inner_threads.h - threads that libraries make for themselves inside a task: those of OpenMP,
 * OpenBLAS, MKL and BLIS, as far as this process has them loaded, from wherever.
 *
 * A library has a number of threads, which it keeps for each thread that calls it (OpenMP, MKL),
 * or for the process (OpenBLAS, unless OpenMP makes its threads; BLIS).  Who runs tasks under a
 * limit sets the one of its own thread, and finds it again afterwards as it was.  The one of
 * the process is common property: as long as somebody has a limit the least of all holds, also
 * for those who have none, and when the last one leaves it is what it was before the first came.
 *
 * Libraries are looked for by file name and symbol, and only again if something was loaded since.
 * Those that were found stay loaded.  Where nobody asks nothing of this is ever run. */
#ifndef CORE_INNER_THREADS_H
#define CORE_INNER_THREADS_H

#include <parloop/parloop.h>

enum { INNER_LIBRARIES = 32 };

/* A limit of one thread's, from enter to leave; those of a thread end in reverse order.  It
 * lies where its caller likes, and is filled by enter. */
struct inner_limit {
	struct inner_limit *outer;           /* of the same thread */
	struct inner_limit *next, *previous; /* of all threads, under the module's lock */
	int32_t n_threads;
	int n_known;                     /* libraries that it holds for, in the order found */
	int32_t before[INNER_LIBRARIES]; /* of those that keep a number for each thread */
};

/* From here on libraries use at most (and, where it is theirs to say, exactly) n_threads, which is
 * above 0, when they are called by this thread; until leave.  look: something may have been loaded
 * meanwhile. [any] */
void inner_threads_enter(struct inner_limit *limit, int32_t n_threads);
void inner_threads_look(struct inner_limit *limit);
void inner_threads_leave(struct inner_limit *limit);

/* This thread is about to fork a worker: OpenMP of gcc, which would wait in it for threads that are
 * not there, ends those that it keeps for this thread.  It makes others when it needs them. */
void inner_threads_before_fork(void);

/* The process is a fork, and a worker: limits of its parent's are not its own, and what the variables
 * of its environment say (worker_env.h) holds for libraries that were loaded before as well. */
void inner_threads_in_worker(void);

#endif
