/* runner.h - runs the bytes of a batch in this process, and answers in frames.
 *
 * It does for a batch that came from elsewhere what ticket.h does for a call of this process:
 * finds the tasks by module and name, installs the call's context on this thread, runs, and
 * puts replies together.  A reply is written where it will be sent from.
 *
 * One thread at a time uses a runner; several threads use several.  What it keeps from batch
 * to batch is memory, and which task has which name. */
#ifndef CORE_RUNNER_H
#define CORE_RUNNER_H

#include "wire_batch.h"

/* What a batch is run with: the caller's until runner_run() returns. */
struct runner_work {
	uint32_t worker;         /* env->worker                                               */
	uint32_t n_attachments;
	const par_attachment *const *attachments; /* in this process's memory                */
	const int32_t *stopping; /* not 0 once it is to end early; NULL: if the batch says so */
	struct wire_now *now;    /* where to say which task runs; NULL: where the batch says */
	int knows_addresses;     /* the caller's memory is this process's too: it was forked */

	/* Takes frames that are whole, some at a time, and returns once it has them: 0, or
	 * negative if nobody wants them any more. */
	int32_t (*send)(void *user, const void *bytes, uint64_t n_bytes);
	void *user;
	int32_t *is_last; /* becomes 1 before the last of a batch are sent; NULL: nobody asks */
};

struct runner;

/* NULL: no memory. */
struct runner *runner_create(void);
void runner_destroy(struct runner *runner); /* NULL is allowed */

/* One that is not in use, or a new one; for those who come and go. [any] */
struct runner *runner_take(void);
void runner_give(struct runner *runner);

/* Run the batch in that frame.  PAR_OK: it was answered, whatever its tasks did, and also if
 * none of them could run (WIRE_CANNOT).  Else nobody took the answer, PAR_ELOST. [worker] */
int32_t runner_run(struct runner *runner, const struct wire_frame *frame,
                   const struct runner_work *work, par_error *error);

/* Say who this worker is, before anything is asked of it.  0, or negative: nobody listens.
 * [worker] */
int32_t runner_greet(struct runner *runner, const struct runner_work *work);

/* Answer that it cannot be run, in a frame of its own. [worker] */
int32_t runner_cannot(struct runner *runner, uint64_t batch, const struct runner_work *work,
                      const par_error *why);

#endif
