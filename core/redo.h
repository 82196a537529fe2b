/* redo.h - tasks that failed and are to be tried again, each at its time.
 *
 * Few and far between: a heap under a lock.  Whoever looks for work asks redo_is_empty()
 * first, which costs a load.  Told the time. */
#ifndef CORE_REDO_H
#define CORE_REDO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct redo_task {
	uint64_t index;
	int64_t due_ns;
	int32_t attempt; /* how often it was tried before */
	uint32_t strikes; /* how many workers died of it, or so it seems */
	double chance;   /* that they all died of something else */
};

struct redo {
	_Atomic uint64_t n;
	pthread_mutex_t lock;
	/* under lock: a heap, the one due first in front */
	struct redo_task *tasks;
	uint64_t capacity;
};

void redo_init(struct redo *redo);
void redo_finish(struct redo *redo);

/* Forget all, for the next call. */
void redo_clear(struct redo *redo);

/* 0, or -1 if there is no memory. [any] */
int redo_add(struct redo *redo, struct redo_task task);

/* The one that is due first, if it is due by now: 1, and it is the caller's. [any] */
int redo_take(struct redo *redo, int64_t now_ns, struct redo_task *task);

/* When the first is due; INT64_MAX: there is none. [any] */
int64_t redo_first_due(struct redo *redo);

/* How many are due by now, counting no further than most. [any] */
uint32_t redo_due(struct redo *redo, int64_t now_ns, uint32_t most);

static inline int redo_is_empty(const struct redo *redo)
{
	return atomic_load_explicit(&redo->n, memory_order_acquire) == 0;
}

#endif
