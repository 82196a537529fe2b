/* remote.h - a call whose tasks run in another address space: which of them a batch takes, as
 * what bytes they go, what comes back, and what is lost with a worker.
 *
 * The counterpart of ticket.h, for workers that see neither the caller's arrays nor the slots.
 * A batch carries a parcel: a stretch of tasks, one after the other, which its worker runs in
 * that order.  So what was answered of it is a number, and when a worker is lost there is one
 * task at most (one piece of a range) that it was at; what comes before and after that is sent
 * again, with no harm done.
 *
 * Blame.  A worker says in shared memory, or by a frame, which task it begins.  Only that one
 * can have killed it.  It is sent again alone, and is condemned once it seems to have killed
 * three workers; where workers are killed by somebody else (SIGKILL, and others die too), not
 * before it is all but impossible that they died while this very task ran each time.  Of a piece
 * with several tasks nobody knows which it was: it is sent again in pieces of one.  Nor is it known
 * of a batch that somebody else moves, unless its tasks are timed or watched: if it is lost, the
 * rest of it is sent again with the wish to hear of each.
 *
 * Places are those of the instance's batch table.  All of it [loop], but remote_take(), which
 * may also run on another thread. */
#ifndef CORE_REMOTE_H
#define CORE_REMOTE_H

#include "call.h"
#include "channel.h"
#include "module.h"
#include "remote_repeated.h"
#include "shared.h"

/* What a batch carries. */
struct parcel {
	uint64_t handle;
	uint64_t first, n;    /* tasks                                                      */
	uint64_t answered;    /* of those: the next to be heard of is first + answered      */
	int32_t attempt;
	uint32_t strikes;     /* as in redo.h                                               */
	double chance;
	int is_careful;       /* one task is acknowledged at a time                         */
	int in_pieces;        /* a range, whose pieces may have several tasks               */
	int is_out;
	int is_late;          /* a task of it is over its time                              */
	uint64_t late;        /* which                                                      */
	int is_killed;        /* its worker is, or will be, for that                        */
	int32_t worker;       /* as far as it is known, or -1                               */
	par_channel *channel; /* by which it went; NULL: by another way                     */
	struct wire_now now;  /* the task that runs, or ran last, as far as it was told     */
	uint64_t ran;         /* as the worker counts, and in what time                     */
	int64_t ran_ns;
	int64_t peak_memory;
	struct shared_copy **copies; /* of large payloads, in their order; NULL: with the batch */
	uint32_t n_copies, room_copies;
	struct carriage *carriage; /* if somebody else moves its bytes; else NULL              */
};

/* The bytes of a batch, and what came of its answer. */
struct carriage {
	struct wire_writer bytes;
	struct wire_reader answer;
	const par_attachment **attachments;
	char machine[64]; /* on which it runs; empty: this one */
};

/* Tasks that were lost, and are no worse for it. */
struct stretch {
	uint64_t first, n;
	int is_careful;
};

struct remote {
	struct call *call;
	struct parcel *parcels; /* one a place */
	uint32_t n_places;

	/* of the call */
	uint64_t number;      /* of the call, within the process */
	uint64_t max_nbytes;  /* larger ones are copied into shared memory; UINT64_MAX: none */
	enum shared_mode mode;
	int says_starts;
	int stops_at_failure;
	double least_ns;      /* what takes less is not worth sending by itself */
	int64_t begun_ns;
	struct stretch *lost;
	uint64_t n_lost, room_lost;
	uint64_t n_lost_tasks;
	uint64_t kills;       /* workers that somebody else may have killed */
	uint32_t unstarted;   /* batches in a row of which no task was begun, as far as one knows */
	int is_refused;       /* a worker cannot run these tasks at all: why */
	par_error refusal;
	const char *out_of_memory; /* what could not be kept; the call is to end */

	/* of what is sent (remote_encode.c) */
	struct wire_batch *batch;
	uint32_t n_tasks;     /* in its tables */
	const par_task *tasks[CALL_TASKS];
	par_module *modules[CALL_TASKS];
	const par_attachment *contents[CALL_TASKS]; /* of those; NULL: not sent */
	uint32_t n_modules;
	int ships_modules;    /* a worker may not have the files of modules: they go along */
	int needs_program;    /* one of the tasks is this program's */
	const par_task *unnamed; /* one that has no name elsewhere, but an address */
	struct shared_copy *in_copy, *shared_copy;
	struct wire_ref in, out, shared; /* id 0: with the batch */
	const par_attachment *in_attachment, *out_attachment, *shared_attachment;
	int has_looked;       /* for these */
	const par_attachment **attachments;
	uint32_t n_attachments, room_attachments;
	struct repeated repeated; /* payloads of bytes that somebody else moves */
	const par_attachment **payloads; /* its large ones, in their order; NULL: with the batch */
	uint32_t n_payloads, room_payloads;

	pthread_mutex_t lock; /* of remote_take() */
};

/* 0, or -1: no memory. */
int remote_init(struct remote *remote, struct call *call, uint32_t n_places, int ships_modules);
void remote_finish(struct remote *remote);

/* A call begins, that is ready otherwise; ends.  A batch of less than least_ns is not worth
 * sending, as long as there are more tasks than that. */
void remote_begin(struct remote *remote, uint64_t max_nbytes, enum shared_mode mode,
                  int stops_at_failure, double least_ns);
void remote_end(struct remote *remote);

/* A worker cannot run its tasks, or there is no memory: refusal or out_of_memory says so, and
 * stays as it is. */
int remote_is_in_trouble(struct remote *remote);

/* --- what goes out --------------------------------------------------------------------------- */

/* Tasks that wait to be sent, redo not counted. */
static inline uint64_t remote_waiting(const struct remote *remote)
{
	return cursor_unclaimed(&remote->call->cursor) * remote->call->unit + remote->n_lost_tasks;
}

/* For the batch of that place: up to most tasks, fewer where the rest is to be shared out
 * (unless that is how many the caller wants); returns how many, 0: none is there now.  Back
 * again, if it could not be sent. */
uint64_t remote_claim(struct remote *remote, uint32_t place, uint64_t most, int is_fixed);
void remote_unclaim(struct remote *remote, uint32_t place);

/* What must be at the worker before the bytes: remote->attachments.  channel: by which it goes,
 * or NULL. */
int32_t remote_prepare(struct remote *remote, uint32_t place, par_channel *channel,
                       par_error *error);

/* The bytes: one frame. */
void remote_encode(struct remote *remote, uint32_t place, uint64_t handle,
                   struct wire_writer *writer);

/* For those who move bytes themselves (parloop.encode/1): prepare and encode, into memory that
 * stays until the batch is closed. */
int32_t remote_bytes(struct remote *remote, uint32_t place, uint64_t handle, par_encoded *encoded,
                     par_error *error);

/* --- what comes back ------------------------------------------------------------------------ */

/* A frame about that batch.  1: it is over; 0: it goes on; PAR_EINVAL: that cannot be. */
int32_t remote_take(struct remote *remote, uint32_t place, const struct wire_frame *frame,
                    par_error *error);

/* The same for bytes as they come, in frames that are whole or not. */
int32_t remote_receive(struct remote *remote, uint32_t place, const void *bytes, uint64_t n_bytes,
                       par_error *error);

/* Of bytes that somebody else moves: who has them, in words of backend.h. [any] */
void remote_runs_at(struct remote *remote, uint32_t place, int32_t worker, const char *machine);

/* The worker that has it is gone: note what it was at. */
void remote_note_lost(struct remote *remote, uint32_t place);

/* The batch was given back: what is left of it is sent again, or blamed.  status as for
 * host->done(). */
void remote_close(struct remote *remote, uint32_t place, int32_t status, const par_how *how);

/* --- deadlines -------------------------------------------------------------------------------- */

/* Is the task that it runs over its time now?  1, once: its worker is to be killed.  It is:
 * whatever it is at when it dies is not to blame. */
int remote_is_late(struct remote *remote, uint32_t place, int64_t now_ns);
void remote_note_killed(struct remote *remote, uint32_t place);

/* The time of a task is up, whatever it answers: it has failed, or is tried again. */
void remote_expire(struct remote *remote, struct parcel *parcel, uint64_t index, const par_how *how);

/* When to look again, going by those that run. */
int64_t remote_next_expiry(struct remote *remote, int64_t now_ns);

#endif
