#include "turn.h"

#include "context.h"
#include "log.h"

/* Of a call that is stopping.  par_cancel() says first that it was cancelled. */
static int was_cancelled(const par_parallel *parallel)
{
	return atomic_load_explicit(&parallel->engine->call.stopping, memory_order_acquire) &&
	       atomic_load_explicit(&parallel->cancelled, memory_order_relaxed);
}

/* Once: that the call is over, but returns only when its tasks have left the caller's memory. */
static void tell_late(par_parallel *parallel)
{
	if (!parallel->told_late)
		log_line(LOG_WARNING, "a call is over, and waits for %u workers whose tasks still use the "
		                      "caller's memory",
		         atomic_load(&parallel->engine->call.seated));
	parallel->told_late = 1;
}

/* Does the call end now, although tasks of it still run? */
static int leaves(par_parallel *parallel)
{
	int64_t now;

	if (parallel->status != PAR_ETIMEOUT && parallel->results.n_expired == 0 &&
	    !parallel->is_dropped && !turn_is_late(parallel))
		return 0;
	/* Those are killed. */
	if (instance_can(&parallel->engine->instance, PAR_CAN_KILL))
		return 0;
	now = loop_now();
	if (parallel->wait_ns == 0)
		parallel->wait_ns = now;
	if (now - parallel->wait_ns < LEAVE_NS)
		return 0;
	if (closing_may_leave(parallel))
		return parallel->leaves = 1;
	tell_late(parallel);
	return 0;
}

static int is_over(par_parallel *parallel)
{
	if (!turn_is_at_end(parallel)) {
		parallel->wait_ns = 0;
		return 0;
	}
	if (parallel->engine->instance.batches.n_out == 0)
		return 1;
	/* Nothing is left but tasks that are over their time: they may know. */
	if (parallel->results.n_expired > 0 && !call_is_stopping(&parallel->engine->call) &&
	    call_is_only_late(&parallel->engine->call)) {
		parallel->is_done = 1;
		call_stop(&parallel->engine->call);
	}
	return leaves(parallel);
}

static int rise(par_parallel *parallel)
{
	int32_t code = PAR_OK;

	if (!parallel->engine->is_up)
		code = engine_step(parallel->engine, INSTANCE_UP, &parallel->error);
	if (code == PAR_PENDING)
		return 0;
	if (code == PAR_OK && !parallel->engine->has_equipment)
		code = engine_equip(parallel->engine, parallel->conf, &parallel->error);
	if (code == PAR_OK) {
		parallel->engine->is_up = 1;
		code = turn_set_out(parallel);
	}
	if (code < 0)
		parallel->status = code;
	return code < 0;
}

int turn_advance(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;
	int over;

	loop_run_posts(&parallel->loop);
	if (__builtin_expect(parallel->left != NULL, 0))
		closing_sweep(parallel);
	/* Cancelled while it rises: the call ends, the backend goes on rising. */
	if (parallel->phase == PHASE_RISING && atomic_load(&parallel->cancelled)) {
		parallel->status = PAR_ECANCELED;
		return 1;
	}
	if (parallel->phase == PHASE_RISING && turn_is_late(parallel)) {
		parallel->late_call = 1;
		parallel->status = PAR_ETIMEOUT;
		return 1;
	}
	if (parallel->phase == PHASE_RISING && rise(parallel))
		return 1;
	if (parallel->phase == PHASE_RISING)
		return 0;
	(void)instance_poll(&parallel->engine->instance, 0);
	turn_reap(parallel);
	/* Before anything is handed out: tasks that saw it end as they like. */
	if (__builtin_expect(atomic_load_explicit(&parallel->cancelled, memory_order_relaxed), 0))
		turn_stop(parallel, PAR_ECANCELED);
	if (call->is_stream)
		turn_stream(parallel);
	/* It may have been cancelled only now. */
	if (__builtin_expect(call_is_stopping(call) && !parallel->is_done, 0))
		turn_stop(parallel, was_cancelled(parallel) ? PAR_ECANCELED : PAR_EFAILED);
	if (plan_has_deadline(&parallel->plan))
		turn_keep_deadlines(parallel);
	if (__builtin_expect(instance_holds(&parallel->engine->instance) == 0 || parallel->no_worker_ns > 0, 0))
		turn_check_workers(parallel, loop_now());
	turn_send(parallel);
	if (call->is_stream && instance_can(&parallel->engine->instance, PAR_RUNS_INLINE))
		turn_stream(parallel);
	over = is_over(parallel);
	if (over && call->is_stream && turn_may_deliver(parallel))
		results_deliver(&parallel->results, call, parallel->dispatcher.taken);
	if (__builtin_expect(parallel->plan.verbose > 0, 0))
		turn_show(parallel, over && parallel->status == PAR_OK);
	if (__builtin_expect(parallel->plan.on_progress != NULL, 0))
		turn_tell_on_the_way(parallel);
	events_hand_out(&call->events);
	return over;
}

static void stop_idling(int *is_idle)
{
	if (*is_idle)
		context_go_on();
	*is_idle = 0;
}

/* The task that we are in, if any, waits from here on, and lets another have its place; but not if
 * it runs those of this call itself. */
static void wait_idle(par_parallel *parallel, int *is_idle)
{
	if (parallel->engine->call.is_inline) {
		stop_idling(is_idle);
	} else if (!*is_idle) {
		context_wait();
		*is_idle = 1;
	}
	turn_wait(parallel);
}

int turn_rise(par_parallel *parallel)
{
	int over = 0, is_idle = 0;

	while (parallel->phase == PHASE_RISING && !(over = turn_advance(parallel)) &&
	       parallel->phase == PHASE_RISING)
		wait_idle(parallel, &is_idle);
	stop_idling(&is_idle);
	return over;
}

void turn_drive(par_parallel *parallel)
{
	int is_idle = 0;

	while (!turn_advance(parallel))
		wait_idle(parallel, &is_idle);
	stop_idling(&is_idle);
}

int turn_pull(par_parallel *parallel)
{
	int over, is_idle = 0;

	while (!(over = turn_advance(parallel)) && !parallel->results.holds)
		wait_idle(parallel, &is_idle);
	stop_idling(&is_idle);
	return over;
}
