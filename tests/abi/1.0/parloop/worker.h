/* parloop/worker.h - for programs that run batches elsewhere: in another process, or on
 * another machine.
 *
 * A backend for such workers has its batches as bytes and attachments (backend.h,
 * parloop.encode/1), moves both in its own way, and gives what comes back to receive().  At the
 * other end stands a program with this header: a rank of an MPI job, the far side of a bridge,
 * parloop-worker, or the caller's own program, executed once more.  None of them looks into
 * the bytes either.
 *
 * The bytes are of this version of parloop; a worker of another one says so, and nothing is
 * guessed.
 */
#ifndef PARLOOP_WORKER_H
#define PARLOOP_WORKER_H

#include <stdint.h>

#include <parloop/backend.h>
#include <parloop/parloop.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- a batch ------------------------------------------------------------------------------- */

/* A batch to be run here, and who takes the answer.  The caller's, all of it, until
 * par_worker_run() returns. */
typedef struct par_work {
	uint32_t size;
	int32_t worker;         /* 0 .. n_jobs-1: what its tasks see as env->worker             */
	const void *bytes;      /* of one batch, whole, as the core has encoded it              */
	uint64_t n_bytes;

	/* those that belong to it, with an address in this process; NULL if there are none */
	const par_attachment *const *attachments;
	uint32_t n_attachments;
	uint32_t reserved;

	/* becomes non-zero when the batch is to end early; NULL: it never does, unless the batch
	 * names a word in an attachment */
	const int32_t *stopping;

	/* takes the answer as it comes, in several pieces of whole frames, on the same thread:
	 * what receive() gets, in this order.  Returns 0, or negative to end the batch early,
	 * as nobody wants its results. */
	int32_t (*send)(void *user, const void *bytes, uint64_t n_bytes);
	void *user;

	/* a task begins to wait for a call of its own (1), or goes on (0), as batch_waits in backend.h:
	 * for engines whose workers are of a fixed number.  On the same thread.  NULL: nobody is told */
	void (*waits)(void *user, int32_t waits);

	/* becomes 1 before the last piece is sent, which may therefore wait for those of the next
	 * batch; others are wanted at once: who runs what, should this process die.  NULL: nobody
	 * asks */
	int32_t *is_last;
} par_work;

/* Run a batch.  PAR_OK: it was answered; what its tasks did wrong, or that none of them could
 * be found here, is in the answer.  Else nobody took it (PAR_ELOST), or these are not the bytes
 * of a batch, which is answered as well if they say of which.  Task modules are opened by their
 * path, if the file there is the caller's, by its build id; else, from an attachment (a backend that
 * ships_modules has them), by way of the folder $PARLOOP_CACHE; else they are refused.  They stay.
 * [any]; several at once on different threads. */
PAR_API int32_t par_worker_run(const par_work *work, par_error *error);

/* --- a descriptor -------------------------------------------------------------------------- */

/* Batches that come and answers that go by a descriptor: a connected Unix or TCP socket, or two
 * pipes.  Attachments come by it too, over a Unix socket as descriptors (SCM_RIGHTS).  At the other
 * end stands a parloop, since the frames about these, and its greeting, are made by the core alone;
 * who moves batches as bytes has par_worker_run() at the far side. */
typedef struct par_serving {
	uint32_t size;
	int32_t worker;   /* as above                                                           */
	int32_t in, out;  /* the same number for a socket; blocking; made close-on-exec         */

	/* Above 0: the process id of the parent.  This process is nothing else than a worker: it
	 * dies with the thread that started it (and at once, if it is dead already), gets a process
	 * group of its own, ignores SIGINT, which is for the parent to act on, and reads
	 * /dev/null on standard input.  0: all that stays as it is. */
	int32_t parent;
	int32_t reserved;
} par_serving;

/* Serve it until its end: PAR_OK.  Else why it cannot go on, which the other side was told if
 * it still listens.  One batch at a time, on this thread.  The descriptors stay open. */
PAR_API int32_t par_worker_serve(const par_serving *serving, par_error *error);

/* --- a program that is its own worker -------------------------------------------------------- */

/* A program whose own tasks are to leave its address space calls this first in main(), before
 * anything else, and above all before it opens a pool:
 *
 *	int main(int argc, char **argv)
 *	{
 *		par_worker_main(argc, argv);
 *		...
 *
 * A backend with worker processes executes the program once more for each of them, with
 * $PARLOOP_WORKER set; then this serves the parent and ends the process, and never returns.
 * Without it the program would start all over in each of its workers, so there opening
 * a pool is refused.  Elsewhere it only takes note that it was called, and returns.  Tasks
 * of task modules need none of this. */
PAR_API void par_worker_main(int argc, char **argv);

/* "IN:OUT:WORKER:PARENT", as in par_serving; or "SOCKET:MEMORY:WORKER:PARENT:channel", the ends of
 * a channel (backend.h), by which the rest of what the worker is to be comes first of all; or
 * "IN:OUT:WORKER:PARENT:plain", two pipes for the messages below. */
#define PAR_WORKER_VARIABLE "PARLOOP_WORKER"

/* --- batches moved by who is no C program ------------------------------------------------------ */

/* A cluster's engine whose own workers are written in another language starts parloop-worker, or the
 * caller's program, with that variable.  It tells it what to attach, sends it the bytes of a batch
 * once the one before is over, and takes the answer.  To end a batch it kills the process.  Each
 * message is a head and a body, in this machine's byte order. */
typedef struct par_plain {
	uint32_t kind;
	int32_t n;
	uint64_t size;       /* bytes of the body */
} par_plain;

enum {
	/* to the worker */
	PAR_PLAIN_ATTACH = 1, /* par_plain_attachment, then the path, with its NUL, of a file that  */
	                      /* has the content; it is mapped and closed                          */
	PAR_PLAIN_DETACH = 2, /* uint64_t id: forget it                                            */
	PAR_PLAIN_RUN = 3,    /* the bytes of a batch, whose attachments are there                 */

	/* from it */
	PAR_PLAIN_READY = 16,  /* once, at first: the version of parloop, as text                  */
	PAR_PLAIN_ANSWER = 17, /* what par_worker_run() sends: for receive(), as it is             */
	PAR_PLAIN_END = 18     /* n: what it returned; if that is below 0, why, as text            */
};

/* Of par_attachment. */
typedef struct par_plain_attachment {
	uint64_t id;
	uint64_t bytes;
	int32_t kind;
	int32_t writable;
	uint8_t sha256[32];
} par_plain_attachment;

#ifdef __cplusplus
}
#endif
#endif
