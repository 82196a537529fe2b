/* turn.h - the parts of a turn, for each other; what others see of it is in parallel.h.
 *
 *   turn_tell     what people are told: progress, and joblib's lines
 *   turn_end      that a call ends, why, and what is cleaned up
 *   turn_begin    what a call is like, planned once its backend is up
 *   turn_stream   tasks from the source, results to the sink
 *   turn_reap     batches that came back
 *   turn_send     how many more may go out, and out with them
 *   turn_time     deadlines, and when to look again
 *   turn_wait     nothing to do: run tasks, look out, or sleep
 *   turn          one turn, of all these in their order; turn after turn
 *
 * Each calls those above it.  All run on the loop's thread. */
#ifndef CORE_TURN_H
#define CORE_TURN_H

#include "parallel.h"

/* Progress is told so often at most. */
#define PROGRESS_NS 100000000

/* A call that need not wait for its running tasks gives them this time to end. */
#define LEAVE_NS 5000000

/* --- turn_tell.c ----------------------------------------------------------------------------- */

/* To on_progress: in any case; if it is time to, and there is something new. */
void turn_tell(par_parallel *parallel, int64_t now_ns);
void turn_tell_on_the_way(par_parallel *parallel);

/* The lines of `verbose`: the first; those of tasks that are over by now. */
void turn_show_start(par_parallel *parallel);
void turn_show(par_parallel *parallel, int is_over);

/* Tasks that count as over for who waits: of a stream those handed out, else those run. */
uint64_t turn_finished_tasks(const par_parallel *parallel);

/* --- turn_end.c ------------------------------------------------------------------------------ */

/* The call ends early; the first reason counts. */
void turn_stop(par_parallel *parallel, int32_t status);

/* Everything was handed out, or nothing more will be. */
int turn_is_at_end(const par_parallel *parallel);

/* --- turn_begin.c ---------------------------------------------------------------------------- */

/* The backend is up: plan the call for what it is, and begin. */
int32_t turn_set_out(par_parallel *parallel);

/* --- turn_stream.c --------------------------------------------------------------------------- */

/* Hand out what is over, take what there is room for. */
void turn_stream(par_parallel *parallel);

/* A call that was cancelled, or timed out, hands out nothing more; one that failed does what came
 * before the failure. */
int turn_may_deliver(const par_parallel *parallel);

/* Is there a result to be handed out now?  May a task be taken? */
int turn_has_result(const par_parallel *parallel);
int turn_can_take(const par_parallel *parallel);

/* --- turn_reap.c ----------------------------------------------------------------------------- */

void turn_reap(par_parallel *parallel);

/* --- turn_send.c ----------------------------------------------------------------------------- */

void turn_send(par_parallel *parallel);

/* Is there a batch to send?  Is there room for one more, once there is something for it? */
int turn_can_send(par_parallel *parallel);
int turn_has_room(par_parallel *parallel);

/* Tasks to be tried again whose time has come. */
uint32_t turn_due(par_parallel *parallel);

/* --- turn_time.c ----------------------------------------------------------------------------- */

/* End what is over its time: tasks, the wait for a result, the call. */
void turn_keep_deadlines(par_parallel *parallel);
int turn_is_late(const par_parallel *parallel);

/* End the call if there has been no worker for long. */
void turn_check_workers(par_parallel *parallel, int64_t now_ns);

/* --- turn_wait.c ----------------------------------------------------------------------------- */

/* Nothing to do in this turn: wait for somebody. */
void turn_wait(par_parallel *parallel);

#endif
