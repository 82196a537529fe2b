/* wire_answer.h - what a worker says, as frames:
 *
 *	HELLO     i32 pid, u32 0; text: parloop's version; text: name of the machine.  The first
 *	          frame of a connection, before anything was asked.
 *	STARTED   u64 index, i64 begin_ns (the worker's monotonic clock), u64 n: tasks of a range's
 *	          piece, u32 attempt, u32 0
 *	OUTCOMES  tasks that are over, one after the other: struct wire_outcome_head, 16 bytes, and
 *	          size bytes: the reply, or if it failed struct wire_failure_head and the texts
 *	          type, where, text and trace
 *	CHUNK     u64 first, u64 n, u32 out_size, u32 attempt; then n values of out_size bytes,
 *	          unless out_size is 0: they lie in the attachment that the range named
 *	FINISHED  struct wire_finished, 32 bytes; the last of a batch
 *	CANNOT    i32 code, u32 0; the texts what, file, reason, remedy; the last of a batch, of
 *	          which no task ran.  Of batch 0: the worker itself cannot go on
 *	OUTPUT    kept free for lines that a task wrote
 *
 * That an index is one of the batch, and was not answered before, is the reader's to check. */
#ifndef CORE_WIRE_ANSWER_H
#define CORE_WIRE_ANSWER_H

#include "wire.h"

struct wire_outcome_head {
	uint64_t index;
	uint32_t size;
	uint16_t attempt;
	uint16_t failed;
};

struct wire_failure_head {
	int32_t code; /* what it returned */
	uint32_t reserved;
};

struct wire_finished {
	int64_t ns;          /* from begin to end on the worker's monotonic clock            */
	uint64_t ran;        /* tasks that are over                                          */
	int64_t peak_memory; /* of the worker so far, bytes; 0: unknown                      */
	uint32_t stopped;    /* it did not run them all: the call ends, or one failed        */
	uint32_t reserved;
};

struct wire_started {
	uint64_t index;
	int64_t begin_ns;
	uint64_t n;
	uint32_t attempt;
	uint32_t reserved;
};

struct wire_chunk_head {
	uint64_t first, n;
	uint32_t out_size;
	uint32_t attempt;
};

_Static_assert(sizeof(struct wire_outcome_head) == 16, "an outcome has its size");
_Static_assert(sizeof(struct wire_finished) == 32, "the end of a batch has its size");
_Static_assert(sizeof(struct wire_started) == 32, "a start has its size");
_Static_assert(sizeof(struct wire_chunk_head) == 24, "a chunk has its size");

/* As it was read. */
struct wire_hello {
	int32_t pid;
	const char *version; /* never NULL */
	const char *host;
};

struct wire_chunk {
	struct wire_chunk_head head;
	const void *values; /* NULL: in the attachment */
};

struct wire_outcome {
	struct wire_outcome_head head;
	const void *reply; /* head.size bytes */

	/* if it failed; texts may be NULL */
	int32_t code;
	const char *type, *where, *text, *trace;
};

/* --- writing ----------------------------------------------------------------------------- */

void wire_put_hello(struct wire_writer *writer, int32_t pid, const char *version,
                    const char *host);
void wire_put_started(struct wire_writer *writer, uint64_t batch,
                      const struct wire_started *started);
void wire_put_finished(struct wire_writer *writer, uint64_t batch,
                       const struct wire_finished *finished);
void wire_put_cannot(struct wire_writer *writer, uint64_t batch, const par_error *error);

/* A chunk whose values lie in the attachment (head->out_size is 0). */
void wire_put_chunk(struct wire_writer *writer, uint64_t batch,
                    const struct wire_chunk_head *head);

/* One that brings them: room for head->n values, to be written at once, NULL: no memory.  At
 * the end there are as many as there are, and the frame is taken back if it is none. */
char *wire_begin_chunk(struct wire_writer *writer, uint64_t batch,
                       const struct wire_chunk_head *head);
void wire_end_chunk(struct wire_writer *writer, const struct wire_chunk_head *head, uint64_t n);

/* Into a frame OUTCOMES that was begun: one that failed. */
void wire_put_failure(struct wire_writer *writer, uint64_t index, uint32_t attempt,
                      const struct wire_outcome *failure);

/* --- reading ------------------------------------------------------------------------------ */

int32_t wire_get_hello(const struct wire_frame *frame, struct wire_hello *hello,
                       par_error *error);
int32_t wire_get_started(const struct wire_frame *frame, struct wire_started *started,
                         par_error *error);
int32_t wire_get_finished(const struct wire_frame *frame, struct wire_finished *finished,
                          par_error *error);
int32_t wire_get_chunk(const struct wire_frame *frame, struct wire_chunk *chunk,
                       par_error *error);

/* Fills error with what the worker said of itself; returns PAR_OK, or PAR_EINVAL if that was
 * no frame of this kind. */
int32_t wire_get_cannot(const struct wire_frame *frame, par_error *cannot, par_error *error);

/* The outcomes of a frame, one after the other, from wire_body(): 1; 0: there are no more;
 * an error: the rest of the frame is lost. */
int32_t wire_next_failure(struct wire_cursor *cursor, struct wire_outcome *outcome,
                          par_error *error);
static inline int32_t wire_next_outcome(struct wire_cursor *cursor, struct wire_outcome *outcome,
                                        par_error *error)
{
	if (cursor->left == 0)
		return 0;
	if (wire_get(cursor, &outcome->head, sizeof(outcome->head)) < 0)
		return wire_refuse(error, "an outcome is cut");
	if (__builtin_expect(outcome->head.failed, 0))
		return wire_next_failure(cursor, outcome, error);
	outcome->reply = wire_take(cursor, outcome->head.size);
	if (__builtin_expect(outcome->reply == NULL, 0))
		return wire_refuse(error, "the reply of task %llu, of %u bytes, is cut",
		                   (unsigned long long)outcome->head.index,
		                   (unsigned)outcome->head.size);
	return 1;
}

#endif
