/* batch.h - batches that are out, by handle, and the one way back into the core.
 *
 * A handle is a place in a table and the generation of that place, so that a late,
 * a second or an invented handle finds nothing.  The loop's thread opens and
 * closes places; workers begin, end and complete them.  A completed batch is
 * pushed on a list that the loop takes whole.
 *
 *   FREE -open-> OUT -begin-> RUNNING -end-> OUT -complete-> DONE -take, close-> FREE
 *
 * complete() while RUNNING (a plugin gave the batch back too early) is kept
 * until end(), so that nothing is freed below a running task. */
#ifndef CORE_BATCH_H
#define CORE_BATCH_H

#include <parloop/backend.h>

#include <stdatomic.h>

struct batch {
	_Atomic uint64_t tag; /* generation << 3 | state */
	struct batch *next;   /* in the completed, or the free list */
	void *future;         /* the plugin's */
	uint64_t quota;       /* tasks it may run */
	uint64_t ran;         /* tasks it ran, and in what time; written by its worker */
	int64_t ran_ns;
	int32_t status;
	struct par_how how; /* how it ended; its texts are the batch's */
};

struct batch_table {
	struct batch *places;
	uint32_t n_places;
	uint32_t n_out;      /* [loop] */
	struct batch *spare; /* [loop] */
	_Atomic(struct batch *) completed;
	_Atomic uint64_t refused; /* done() or run() for a batch that was not out */
};

int batch_table_init(struct batch_table *table, uint32_t n_places); /* -1: no memory */
void batch_table_finish(struct batch_table *table);

/* A place for a batch that goes out; NULL: all are out.  Its handle.  Back again. [loop] */
struct batch *batch_open(struct batch_table *table);
par_batch batch_handle(const struct batch_table *table, const struct batch *batch);
void batch_close(struct batch_table *table, struct batch *batch);

/* It was not lent after all.  Closed at once, unless somebody runs it or gave it back
 * nevertheless: then it comes back like any other. [loop] */
void batch_withdraw(struct batch_table *table, struct batch *batch);

/* A worker begins and ends to run it; NULL: it is not out, or runs already. [any] */
struct batch *batch_begin(struct batch_table *table, par_batch handle);
int batch_end(struct batch_table *table, struct batch *batch); /* 1: completed meanwhile */

/* It is given back.  1: now on the list, tell the loop; 0: once it ends; -1: refused. [any] */
int batch_complete(struct batch_table *table, par_batch handle, int32_t status, const par_how *how);

/* The batch of a handle, if it is out and nobody runs it; else NULL. [loop] */
struct batch *batch_find(struct batch_table *table, par_batch handle);

/* All that were completed since, oldest first, linked by next. [loop] */
struct batch *batch_take_completed(struct batch_table *table);
static inline int batch_has_completed(const struct batch_table *table)
{
	return atomic_load_explicit(&table->completed, memory_order_relaxed) != NULL;
}

#endif
