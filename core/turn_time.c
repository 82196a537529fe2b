#include "turn.h"

#include "error.h"

/* Tasks are looked at so often at most, whatever their time-out. */
#define LOOK_NS 1000000

/* A backend that has lost all its workers may find others within this time. */
#define NO_WORKER_NS ((int64_t)30 * 1000000000)

int turn_is_late(const par_parallel *parallel)
{
	return parallel->plan.call_timeout_ns > 0 &&
	       loop_now() - parallel->begun_ns >= parallel->plan.call_timeout_ns;
}

/* Once the whole call is out of time, all that run have been told of. */
static int times_tasks(const par_parallel *parallel)
{
	return parallel->plan.task_timeout_ns > 0 && parallel->status != PAR_ETIMEOUT;
}

/* Is there a result to wait for?  Not while the source has none to begin with, nor when it is
 * there and only has to be handed out, or taken by an iterator. */
static int is_pending(const par_parallel *parallel)
{
	if (parallel->engine->call.is_stream)
		return !parallel->results.holds && !turn_has_result(parallel) &&
		       parallel->results.delivered < parallel->dispatcher.taken;
	return parallel->engine->instance.batches.n_out > 0 || !turn_is_at_end(parallel);
}

/* Charge tasks that are over their time with it. */
static void expire_tasks(par_parallel *parallel, int64_t now_ns)
{
	struct call *call = &parallel->engine->call;
	struct call_failure failure;
	int64_t next_ns;

	if (now_ns < parallel->look_ns)
		return;
	if (parallel->engine->instance.has_remote) {
		next_ns = instance_expire(&parallel->engine->instance, now_ns);
		parallel->look_ns = next_ns - now_ns < LOOK_NS ? now_ns + LOOK_NS : next_ns;
		return;
	}
	for (uint32_t i = 0; i < call->n_jobs; i++) {
		if (call->is_stream && results_reserve(&parallel->results) < 0)
			return;
		if (call_expire(call, i, now_ns, &failure) != 1)
			continue;
		parallel->dispatcher.has_late = 1;
		if (call->is_stream)
			results_expire(&parallel->results, call, &failure);
		else
			parallel->results.n_expired++;
	}
	next_ns = call_next_expiry(call, now_ns);
	parallel->look_ns = next_ns - now_ns < LOOK_NS ? now_ns + LOOK_NS : next_ns;
}

void turn_keep_deadlines(par_parallel *parallel)
{
	const struct plan *plan = &parallel->plan;

	if (times_tasks(parallel))
		expire_tasks(parallel, loop_now());
	if (call_is_stopping(&parallel->engine->call))
		return;
	if (plan->timeout_ns > 0 && results_overdue(&parallel->results, turn_finished_tasks(parallel),
	                                            is_pending(parallel), loop_now())) {
		turn_stop(parallel, PAR_ETIMEOUT);
	} else if (turn_is_late(parallel)) {
		parallel->late_call = 1;
		turn_stop(parallel, PAR_ETIMEOUT);
	}
}

void turn_check_workers(par_parallel *parallel, int64_t now_ns)
{
	if (instance_holds(&parallel->engine->instance) > 0) {
		parallel->no_worker_ns = 0;
		return;
	}
	if (parallel->no_worker_ns == 0)
		parallel->no_worker_ns = now_ns;
	if (now_ns - parallel->no_worker_ns < NO_WORKER_NS || parallel->status != PAR_OK)
		return;
	error_set(&parallel->error, PAR_EUNAVAIL, "%s has no active worker",
	          parallel->engine->instance.provider->name);
	error_reason(&parallel->error, "the last one left, and none came within %lld s",
	             (long long)(NO_WORKER_NS / 1000000000));
	turn_stop(parallel, PAR_EUNAVAIL);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* While nobody has said that it is to end. */
static int64_t deadline_on_the_way(par_parallel *parallel)
{
	const struct plan *plan = &parallel->plan;
	int64_t next = 0, retry = redo_first_due(&parallel->engine->call.redo);

	if (plan->timeout_ns > 0)
		next = parallel->results.since_ns + plan->timeout_ns;
	if (parallel->no_worker_ns > 0)
		next = sooner(next, parallel->no_worker_ns + NO_WORKER_NS);
	if (retry != INT64_MAX && turn_has_room(parallel))
		next = sooner(next, retry);
	/* joblib's lines go on coming while a long call has nothing else to say. */
	if ((plan->verbose > 0 && !parallel->engine->call.is_stream) || plan->on_progress != NULL)
		next = sooner(next, loop_now() + PROGRESS_NS);
	return next;
}

/* That the call is out of time changes nothing any more: it ends as its workers are killed. */
static int only_waits(const par_parallel *parallel)
{
	return parallel->phase == PHASE_RUNNING && call_is_stopping(&parallel->engine->call) &&
	       instance_can(&parallel->engine->instance, PAR_CAN_KILL);
}

int64_t turn_deadline(par_parallel *parallel)
{
	const struct plan *plan = &parallel->plan;
	int64_t next = 0;

	if (parallel->is_closing && parallel->phase == PHASE_IDLE)
		return parallel->close_by_ns;
	if (parallel->phase == PHASE_IDLE)
		return 0;
	if (parallel->phase == PHASE_RUNNING)
		parallel->retry_ns = redo_first_due(&parallel->engine->call.redo);
	if (plan->call_timeout_ns > 0 && parallel->wait_ns == 0 && !only_waits(parallel))
		next = parallel->begun_ns + plan->call_timeout_ns;
	if (parallel->phase == PHASE_RISING)
		return next;
	if (parallel->wait_ns > 0 && !parallel->told_late)
		next = sooner(next, parallel->wait_ns + LEAVE_NS);
	if (times_tasks(parallel) && parallel->engine->instance.batches.n_out > 0)
		next = sooner(next, parallel->look_ns);
	if (parallel->aborted || parallel->is_done)
		return next;
	return sooner(next, deadline_on_the_way(parallel));
}
