/* channel.h - the way to one worker process of this machine, the parent's end.
 *
 * A socket and shared memory.  The memory has a ring of bytes in each direction (ring.h), in
 * which frames (wire.h) are written and read in place, and some words that both sides look at:
 * which task runs (struct wire_now), that the call ends, what a dying worker could still say.
 * The socket wakes who sleeps, passes the descriptors of attachments, and ends with its process.
 * serve.c is the other end.
 *
 * A channel has one user at a time, on one thread.  What comes from the worker is anything, and
 * nothing that it does to the memory can hurt more than what it has to say. */
#ifndef CORE_CHANNEL_H
#define CORE_CHANNEL_H

#include "wire_batch.h"

/* What par_ext_channel in backend.h says of open, close, ends, describe, program, serve, started,
 * fd, is_ready, sleeps, stop, out and last_words. */
int32_t channel_open(int32_t kind, par_channel **channel, par_error *error);
void channel_close(par_channel *channel);
void channel_ends(const par_channel *channel, int32_t ends[2]);
char *const *channel_describe(par_channel *channel, const int32_t ends[2],
                              const par_worker_setup *setup);
const char *channel_program(par_error *error);
void channel_serve(par_channel *channel, const par_worker_setup *setup) __attribute__((noreturn));
void channel_started(par_channel *channel);
int32_t channel_fd(const par_channel *channel);
int32_t channel_is_ready(const par_channel *channel);
int32_t channel_sleeps(par_channel *channel, int32_t sleeps);
void channel_stop(par_channel *channel);
int32_t channel_out(const par_channel *channel);
const char *channel_last_words(const par_channel *channel);

/* Is its worker a fork of this process, which knows tasks by their address?  Else: is it this
 * program, executed once more? */
int channel_is_forked(const par_channel *channel);
int channel_is_program(const par_channel *channel);

/* --- sending ---------------------------------------------------------------------------------- */

/* Let the worker have an attachment, unless it has it already.  Before the batch that names
 * it. */
int32_t channel_attach(par_channel *channel, const par_attachment *attachment, par_error *error);

/* Where to write one frame, as far as possible into the ring itself; then send it, as a batch
 * that is out from now on; or take it back.  Nothing else may be called in between. */
struct wire_writer *channel_begin(par_channel *channel);
int32_t channel_commit(par_channel *channel, uint64_t batch, par_error *error);
void channel_withdraw(par_channel *channel);

/* --- receiving -------------------------------------------------------------------------------- */

/* The next frame from the worker, which is about the oldest batch that is out: 1; it is valid until
 * the next call, or until channel_sleeps().  0: none at the moment.  An error: it makes no sense,
 * the worker says that it cannot go on, or nothing more can come, since it has closed its socket
 * (PAR_ELOST). */
int32_t channel_next(par_channel *channel, struct wire_frame *frame, par_error *error);

/* The oldest batch is not out any more.  Returns it; 0: there was none. */
uint64_t channel_over(par_channel *channel);

/* Which task its worker is at, or was when it died; what is read there may be anything, at any
 * time, and is a copy. */
void channel_now(const par_channel *channel, struct wire_now *now);

#endif
