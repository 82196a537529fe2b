/* results.h - outcomes on their way to the sink: in order or as they come, once each.
 *
 * Also the patience with which the next one is awaited (joblib's timeout).  Told
 * the time; touches no clock, descriptor or thread.  [loop] */
#ifndef CORE_RESULTS_H
#define CORE_RESULTS_H

#include "ticket.h"

struct results {
	par_sink_fn sink; /* may be NULL */
	void *user;
	uint64_t delivered; /* tasks, failed ones included */
	uint64_t oldest;    /* the lowest number not delivered */
	int stopped;        /* the sink asked to stop */
	const _Atomic int32_t *cancelled; /* nothing is handed out once it is set; may be NULL */
	int in_sink;
	void (*forget)(void *forget_arg, const struct slot *slot); /* a slot is about to be cleared */
	void *forget_arg;

	/* patience */
	int64_t timeout_ns; /* 0: endless */
	int64_t since_ns;   /* when the last result came, or the wait began */
	uint64_t seen;
};

/* Hand out what is ready, of taken tasks; returns how many. */
uint64_t results_deliver(struct results *results, struct call *call, uint64_t taken);

/* The call was given up: clear every slot below taken. */
void results_drop(struct results *results, struct call *call, uint64_t taken);

/* Results that came so far, of pending ones, at this time: 1 if the next is overdue. */
int results_overdue(struct results *results, uint64_t came, int pending, int64_t now_ns);

#endif
