/* parallel.h - a par_parallel from inside: the one place that sees every stage.
 *
 *   source -> dispatcher -> (cursor, batches) -> backend -> workers run tickets
 *     sink <- results <- slots, or the caller's arrays  <-----+
 *
 * A call goes IDLE -> RISING (the backend is not up yet) -> RUNNING -> IDLE.  turn.c
 * takes it there: in a blocking call it is driven by the caller's thread,
 * otherwise by callbacks of the caller's loop. */
#ifndef CORE_PARALLEL_H
#define CORE_PARALLEL_H

#include "batcher.h"
#include "dispatcher.h"
#include "instance.h"
#include "loop.h"
#include "progress.h"
#include "results.h"
#include "settings.h"
#include "ticket.h"

#include <sys/types.h>

enum phase { PHASE_IDLE, PHASE_RISING, PHASE_RUNNING };

struct par_parallel {
	struct instance instance;
	struct loop loop;
	struct call call;
	struct dispatcher dispatcher;
	struct results results;
	struct batcher batcher;

	const struct conf *conf;
	int32_t cores; /* that may be spun on */
	par_settings opened;
	struct par_call wants;
	pthread_t thread;
	pid_t pid;
	int n_jobs_is_set, is_managed, is_up, has_equipment, has_slots;
	uint64_t slots_asked; /* what the ring was made for */
	const par_task *timed; /* whose time a task is remembered */

	/* the call under way */
	_Atomic int32_t busy, cancelled;
	_Atomic int32_t woken; /* the source that had none yet may have one */
	enum phase phase;
	struct plan plan;
	int32_t status;
	par_error error;
	int may_help, aborted;
	unsigned unrun, lost;      /* batches in a row that came back without having run; */
	                           /* those of them whose worker was lost, or the like    */
	int64_t started_ns, no_worker_ns;
	struct progress progress;
	struct progress_point shown;

	/* on the caller's loop */
	par_done_fn done, ready;
	void *done_user, *ready_user;
	int is_closing;
	void (*closed)(void *user);
	void *closed_user;
};

/* What a call is about; the rest is in its plan. */
struct job {
	const par_task *task;
	const void *in; /* par_map */
	void *out;
	uint64_t n;
	par_source_fn source; /* par_run */
	par_sink_fn sink;
	void *user;
};

/* Once the backend is up: seats and arenas for its n_jobs. */
int32_t turn_equip(par_parallel *parallel, par_error *error);
void turn_unequip(par_parallel *parallel);

/* Begin a call by its plan; the backend may still be rising. */
void turn_begin(par_parallel *parallel, const struct job *job);

/* Take it one turn further, without waiting; 1: it is over. */
int turn_advance(par_parallel *parallel);

/* Drive it to its end, on its own loop. */
void turn_drive(par_parallel *parallel);

/* After its end: clean up, and say how it ended. */
int32_t turn_conclude(par_parallel *parallel, par_error *error);

/* Is there nothing to do until something is notified? */
int turn_is_idle(void *parallel);

/* When to look again in any case; 0: never. */
int64_t turn_deadline(const par_parallel *parallel);

#endif
