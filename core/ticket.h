/* ticket.h - a call as its workers see it, and how one of them takes part.
 *
 * In shared memory a batch is a ticket: the right to sit down and take pieces of
 * the call's work until its quota is run, none is left, or the call stops.  The
 * tasks stand in the caller's arrays (par_map) or in slots (par_run); who runs
 * which is the cursor's business.
 *
 * The loop's thread may sit down as well, as long as tasks are short.  There are
 * never more on the seats than n_jobs: before it sits down it asks one ticket to
 * leave (yield).
 *
 * Waking the loop.  A worker that finished a task of a stream looks whether the
 * loop is hungry, after its next compare-and-swap on the cursor; the loop sets
 * hungry by an exchange, then looks for results once more, and sleeps only if there
 * are none.  One of the two sees the other, so no result waits for a sleeping loop.
 */
#ifndef CORE_TICKET_H
#define CORE_TICKET_H

#include "call.h"

struct ticket_report {
	uint64_t ran; /* tasks */
	int64_t ns;
};

/* Sit down and take part: at most quota tasks (0: any number), unless a budget of
 * time is set (ns; 0: none) and used up. [worker] */
void ticket_run(struct call *call, uint64_t quota, int64_t budget_ns, struct ticket_report *report);

#endif
