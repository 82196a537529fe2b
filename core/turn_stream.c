#include "turn.h"

static int some_task_is_over(const par_parallel *parallel)
{
	return parallel->results.delivered > 0 ||
	       atomic_load_explicit(&parallel->engine->call.finished, memory_order_relaxed) > 0;
}

int turn_may_deliver(const par_parallel *parallel)
{
	return !parallel->results.stopped && !atomic_load(&parallel->cancelled) &&
	       (parallel->status == PAR_OK || parallel->status == PAR_EFAILED);
}

/* Ask the source, which may take its time; a time-out begins with what it gives. */
static int32_t take(par_parallel *parallel)
{
	int nothing_out = parallel->results.delivered == parallel->dispatcher.taken;
	int32_t code = dispatcher_take(&parallel->dispatcher, &parallel->engine->call,
	                               parallel->results.delivered, parallel->results.oldest,
	                               some_task_is_over(parallel), &parallel->error);

	if (nothing_out && parallel->plan.timeout_ns > 0)
		parallel->results.since_ns = loop_now();
	return code;
}

void turn_stream(par_parallel *parallel)
{
	int32_t code;

	if (turn_may_deliver(parallel))
		results_deliver(&parallel->results, &parallel->engine->call, parallel->dispatcher.taken);
	if (parallel->results.stopped && parallel->status == PAR_OK)
		turn_stop(parallel, PAR_ECANCELED);
	if (call_is_stopping(&parallel->engine->call))
		return;
	if (parallel->dispatcher.waits && atomic_exchange(&parallel->woken, 0))
		parallel->dispatcher.waits = 0;
	/* Inline: what makes a batch is taken when the last one was delivered. */
	if (instance_can(&parallel->engine->instance, PAR_RUNS_INLINE) &&
	    parallel->dispatcher.taken > parallel->results.delivered)
		return;
	code = take(parallel);
	if (code < 0)
		turn_stop(parallel, code);
}

int turn_has_result(const par_parallel *parallel)
{
	const struct call *call = &parallel->engine->call;
	const struct results *results = &parallel->results;
	uint8_t state;

	if (!call->is_stream || !turn_may_deliver(parallel))
		return 0;
	if (call->unordered)
		return results->n_overdue > 0 ||
		       atomic_load_explicit(&call->done_list, memory_order_relaxed) != 0;
	if (results->oldest >= parallel->dispatcher.taken)
		return 0;
	state = atomic_load_explicit(&slots_at(&call->slots, results->oldest)->state,
	                             memory_order_relaxed);
	return state == SLOT_DONE || state == SLOT_OVERDUE || state == SLOT_LEFT;
}

int turn_can_take(const par_parallel *parallel)
{
	const struct call *call = &parallel->engine->call;

	return call->is_stream && !call_is_stopping(call) &&
	       !instance_can(&parallel->engine->instance, PAR_RUNS_INLINE) &&
	       dispatcher_may_take(&parallel->dispatcher, call, parallel->results.delivered,
	                           parallel->results.oldest, some_task_is_over(parallel));
}

void turn_hand_out(par_parallel *parallel)
{
	if (turn_may_deliver(parallel))
		results_deliver(&parallel->results, &parallel->engine->call, parallel->dispatcher.taken);
}
