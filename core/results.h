/* results.h - outcomes on their way to the sink: in order or as they come, once each.
 *
 * Also the patience with which the next one is awaited (joblib's timeout).  Told
 * the time; touches no clock, descriptor or thread.  [loop] */
#ifndef CORE_RESULTS_H
#define CORE_RESULTS_H

#include "call.h"

/* A task that was over its time before it was over. */
struct overdue {
	uint64_t index;
	int32_t worker, attempts;
};

struct results {
	par_sink_fn sink; /* may be NULL */
	void *user;
	uint64_t delivered; /* tasks, failed ones included */
	uint64_t oldest;    /* the lowest number not delivered */
	int stopped;        /* the sink asked to stop */
	const _Atomic int32_t *cancelled; /* nothing is handed out once it is set; may be NULL */
	int in_sink;
	int leaves_out_failed; /* PAR_IGNORE */

	par_outcome outcome; /* as the sink gets it */

	/* for an iterator: one at a time, in outcome as long as holds is set */
	int is_pulled, holds;
	uint64_t held;    /* its number */
	uint64_t listed;  /* unordered: number + 1 of the next of those that were over */

	const char *late; /* what to say of a task that is over its time */
	struct overdue *overdue; /* not delivered yet */
	uint32_t n_overdue, room_overdue;
	uint64_t n_expired; /* in all */

	void (*forget)(void *forget_arg, const struct slot *slot); /* a slot is about to be cleared */
	void *forget_arg;

	/* patience */
	int64_t timeout_ns; /* 0: endless */
	int64_t since_ns;   /* when the last result came, or the wait began */
	uint64_t seen;
};

/* Hand out what is ready, of taken tasks; returns how many. */
uint64_t results_deliver(struct results *results, struct call *call, uint64_t taken);

/* An iterator has done with the result that it holds. */
void results_let_go(struct results *results, struct call *call);

/* There is room to note a task that is over its time; -1: no memory.  Then: note it. */
int results_reserve(struct results *results);
void results_expire(struct results *results, struct call *call, const struct call_failure *failure);

void results_finish(struct results *results);

/* The call was given up: clear every slot below taken. */
void results_drop(struct results *results, struct call *call, uint64_t taken);

/* Results that came so far, of pending ones, at this time: 1 if the next is overdue. */
int results_overdue(struct results *results, uint64_t came, int pending, int64_t now_ns);

#endif
