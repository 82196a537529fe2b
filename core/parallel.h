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

#include "dispatcher.h"
#include "engine.h"
#include "loop.h"
#include "progress.h"
#include "results.h"
#include "settings.h"

#include <sys/types.h>

enum phase { PHASE_IDLE, PHASE_RISING, PHASE_RUNNING };

enum { NAME_ROOM = 40 }; /* of a backend */

struct par_parallel {
	struct loop loop;
	struct engine *engine; /* of the call under way, and of the next */
	struct engine *spare;  /* for the next call, if this one is to leave it */
	struct engine *left;   /* behind: their calls ended before some of their tasks */
	struct dispatcher dispatcher;
	struct results results;

	const struct conf *conf;
	int32_t cores; /* that may be spun on */

	/* what an engine is made of */
	par_settings opened;
	const struct provider *provider;
	const char *const *options; /* among those of opened */
	struct par_call wants;
	char around[NAME_ROOM];  /* which wants points at, since it may outlive the task that opened it */
	int n_jobs_is_set;

	int64_t close_timeout_ns;

	pthread_t thread;
	pid_t pid;
	int is_managed; /* opened by the caller; else for one call */

	/* the call under way */
	_Atomic(struct call *) running; /* for par_cancel(): once set, it stays readable */
	_Atomic int32_t cancelling; /* threads in par_cancel() */
	_Atomic int32_t busy, cancelled;
	_Atomic int32_t woken; /* the source that had none yet may have one */
	enum phase phase;
	struct plan plan;
	int32_t status;
	par_error error;
	int may_help, aborted;
	unsigned unrun, lost;      /* batches in a row that came back without having run; */
	                           /* those of them whose worker was lost, or the like    */
	int64_t begun_ns, started_ns, no_worker_ns;
	int64_t served_ns;    /* when what plugins watch was served last                   */
	int64_t look_ns;      /* when to look again for tasks that are over their time     */
	int64_t wait_ns;      /* since when nothing is left to do but wait for running tasks */
	int is_done;          /* all is delivered, and what runs is told so                 */
	int leaves;           /* they are not waited for                                    */
	int is_dropped;       /* nobody wants its results any more, so they need not be     */
	int late_call;        /* it is the whole call that ran out of time                  */
	int told_late;
	int64_t retry_ns;     /* when the first task was due again, as the deadline knows      */
	uint64_t quota;      /* elsewhere: tasks of a batch, as was said in this turn */
	int64_t told_ns;      /* when progress was told last, and how much of it            */
	uint64_t told_done;
	struct progress progress;
	struct progress_point shown;

	/* on the caller's loop */
	par_done_fn done, ready;
	void *done_user, *ready_user;
	int is_closing;
	int64_t close_by_ns;
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
	int is_pulled; /* par_iter: results are asked for */
};

/* --- parallel.c: opening, and what every call begins with ------------------------------------ */

/* Everything up to the first step of the backend, and its end. */
int32_t parallel_create(par_parallel **parallel, uv_loop_t *uv, const par_settings *settings,
                        par_error *error);
void parallel_free(par_parallel *parallel);

/* A pool with a loop of its own, for one call that is to be given no settings, and brings the
 * backend up. */
int32_t parallel_open_for_call(par_parallel **parallel, const par_settings *settings,
                               par_error *error);

/* Another engine in place of the present one, which somebody else looks after. */
int32_t parallel_new_engine(par_parallel *parallel, int may_block, par_error *error);

/* Plan and begin; the par_parallel is busy from here to its end. */
int32_t parallel_begin(par_parallel *parallel, const struct job *job, const par_settings *settings,
                       int blocking, par_error *error);

/* A call failed; if it was in a task, it may be why that fails. */
void parallel_note(const par_error *error);

int32_t parallel_check_arrays(const struct job *job, par_error *error);
int32_t parallel_check_stream(const struct job *job, par_error *error);
int32_t parallel_refuse(par_error *error, int32_t code, const char *what, const char *remedy);

/* --- started.c: on the caller's loop ----------------------------------------------------------- */

void started_on_loop(void *parallel);

/* --- closing.c: engines that were left behind, and the end ------------------------------------- */

/* One more that is not the present one any more. */
void closing_add(par_parallel *parallel, struct engine *engine);

/* Let go of those whose tasks have come back, without waiting; is there nothing of the kind
 * to do until somebody is heard of? */
void closing_sweep(par_parallel *parallel);
int closing_is_idle(const par_parallel *parallel);

/* May the call end before its tasks, since all memory is ours, and is there another engine
 * for the next?  Then leave the present one with its running tasks. */
int closing_may_leave(par_parallel *parallel);
void closing_leave(par_parallel *parallel);

/* On its own loop: end an engine that is not the present one any more. */
void closing_replace(par_parallel *parallel, struct engine *engine);

/* The end of one on its own loop. */
void closing_own(par_parallel *parallel);

/* On the caller's: begin it; 1 once all engines are gone, or given up; take the handles off
 * the loop, and free it when they are. */
void closing_begin(par_parallel *parallel);
int closing_is_done(par_parallel *parallel, int64_t now_ns);
void closing_finish(par_parallel *parallel);

/* --- turn*.c: a call from turn to turn ------------------------------------------------------------ */

/* Begin a call by its plan; the backend may still be rising. */
void turn_begin(par_parallel *parallel, const struct job *job);

/* Take it one turn further, without waiting; 1: it is over. */
int turn_advance(par_parallel *parallel);

/* Drive it on its own loop: until its backend is up (1: it is over before that); to its end. */
int turn_rise(par_parallel *parallel);
void turn_drive(par_parallel *parallel);

/* The same up to the next result, which parallel->results then holds; 1: it is over, and there
 * may be a last one.  Afterwards: hand out the next that is there. */
int turn_pull(par_parallel *parallel);
void turn_hand_out(par_parallel *parallel);

/* After its end: clean up, and say how it ended. */
int32_t turn_conclude(par_parallel *parallel, par_error *error);

/* Is there nothing to do until something is notified? */
int turn_is_idle(void *parallel);

/* The same for a loop that has said that it sleeps: from now on it wants to hear of results.
 * Before, a worker could take notice of that, and not wake it since it did not sleep yet. */
int turn_may_sleep(void *parallel);

/* When to look again in any case; 0: never. */
int64_t turn_deadline(par_parallel *parallel);

#endif
