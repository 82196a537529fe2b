#include "turn.h"

#include "error.h"
#include "log.h"

#include <stdio.h>
#include <string.h>

void turn_stop(par_parallel *parallel, int32_t status)
{
	const par_backend_ops *ops = &parallel->engine->instance.provider->ops;

	if (parallel->status == PAR_OK)
		parallel->status = status;
	if (parallel->status == PAR_ETIMEOUT && !call_is_stopping(&parallel->engine->call))
		call_tell_late(&parallel->engine->call);
	call_stop(&parallel->engine->call);
	if (parallel->aborted || parallel->phase != PHASE_RUNNING)
		return;
	parallel->aborted = 1;
	if (ops->abort_everything != NULL && parallel->engine->instance.batches.n_out > 0)
		ops->abort_everything(parallel->engine->instance.backend, parallel->is_managed);
}

int turn_is_at_end(const par_parallel *parallel)
{
	const struct call *call = &parallel->engine->call;

	if (parallel->is_done)
		return 1;
	/* Whoever stopped it, since this turn began: the next one finds out why. */
	if (call_is_stopping(call))
		return parallel->status != PAR_OK;
	if (call->is_stream)
		return parallel->dispatcher.exhausted &&
		       parallel->results.delivered == parallel->dispatcher.taken;
	if (parallel->engine->instance.has_remote && parallel->engine->instance.remote.n_lost > 0)
		return 0;
	return cursor_is_dry(&call->cursor) && redo_is_empty(&call->redo) && !call_awaits_retry(call);
}

static void describe_failure(const par_parallel *parallel, par_error *error)
{
	const struct call *call = &parallel->engine->call;
	const struct call_failure *failure = &call->failure;
	unsigned long long failed = atomic_load(&call->failed), task = failure->index;
	const char *how = failure->status == PAR_ETIMEOUT ? "timed out" : "failed";
	int32_t code = parallel->plan.collect ? PAR_EFAILED : failure->status;

	if (parallel->plan.collect && failed > 1)
		error_set(error, code, "%llu tasks failed, the first is task %llu", failed, task);
	else
		error_set(error, code, "task %llu %s", task, how);
	if (failure->text[0] != '\0')
		error_reason(error, "%s", failure->text);
	else
		error_reason(error, "it returned %d", failure->code);
	error->task = (int64_t)failure->index;
	error->worker = failure->worker;
	error->attempts = failure->attempts;
	error->task_code = failure->code;
	error->pid = failure->pid;
	error->signal = failure->signal;
	error->exit_code = failure->exit_code;
	error->peak_memory = failure->peak_memory;
	memcpy(error->host, failure->host, sizeof(error->host));
	(void)snprintf(error->type, sizeof(error->type), "%s",
	               failure->type[0] != '\0' ? failure->type : par_code_name(failure->status));
	memcpy(error->input, failure->input, sizeof(error->input));
	memcpy(error->trace, failure->trace, sizeof(error->trace));
}

static void describe_timeout(const par_parallel *parallel, par_error *error)
{
	const struct plan *plan = &parallel->plan;

	if (parallel->late_call)
		error_set(error, PAR_ETIMEOUT, "the call took longer than its call_timeout, %g s",
		          (double)plan->call_timeout_ns / 1e9);
	else
		error_set(error, PAR_ETIMEOUT, "no result came within %g s",
		          (double)plan->timeout_ns / 1e9);
	error_remedy(error, "set a longer timeout, or none");
}

/* By a failed task, of which the first in order counts. */
static int ended_by_failure(const par_parallel *parallel)
{
	return parallel->status == PAR_EFAILED && parallel->engine->call.have_failure &&
	       parallel->error.what[0] == '\0';
}

static void describe_end(par_parallel *parallel)
{
	par_error *error = &parallel->error;

	if (ended_by_failure(parallel)) {
		describe_failure(parallel, error);
		parallel->status = error->code;
	} else if (parallel->status == PAR_ETIMEOUT) {
		describe_timeout(parallel, error);
	} else if (parallel->status == PAR_ECANCELED) {
		error_set(error, PAR_ECANCELED, parallel->results.stopped ? "the sink ended the call"
		                                                          : "the call was cancelled");
	} else {
		error->code = parallel->status;
	}
}

static void clean_up(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;

	if (parallel->engine->instance.has_remote)
		remote_end(&parallel->engine->instance.remote);
	if (call->is_stream && parallel->engine->has_slots)
		results_drop(&parallel->results, call, parallel->dispatcher.taken);
	arena_finish(&parallel->dispatcher.payloads);
	for (uint32_t i = 0; parallel->engine->has_equipment && i < call->n_jobs; i++)
		arena_finish(&call->arenas[i]);
	if (parallel->engine->has_slots && call->slots.mask == UINT64_MAX) {
		slots_finish(&call->slots);
		parallel->engine->has_slots = 0;
	}
}

static void end_call(par_parallel *parallel)
{
	struct engine *engine = parallel->engine;
	const par_backend_ops *ops = &engine->instance.provider->ops;

	if (ops->retrieval_exit != NULL)
		ops->retrieval_exit(engine->instance.backend);
	events_hand_out(&engine->call.events);
	if (parallel->plan.on_progress != NULL)
		turn_tell(parallel, loop_now());
	/* What is left behind has its call ended when it is deserted. */
	if (parallel->leaves)
		return;
	engine->in_call = 0;
	if (ops->stop_call != NULL)
		ops->stop_call(engine->instance.backend);
}

int32_t turn_conclude(par_parallel *parallel, par_error *error)
{
	if (parallel->phase == PHASE_RUNNING)
		end_call(parallel);
	if (parallel->status == PAR_OK && parallel->engine->call.have_failure && !parallel->plan.ignore)
		parallel->status = PAR_EFAILED;
	if (parallel->status != PAR_OK)
		describe_end(parallel);
	if (parallel->status != PAR_OK && error != NULL)
		error_copy(error, &parallel->error);
	results_finish(&parallel->results);
	if (parallel->leaves) {
		arena_finish(&parallel->dispatcher.payloads);
		closing_leave(parallel);
	} else {
		clean_up(parallel);
	}
	parallel->phase = PHASE_IDLE;
	return parallel->status;
}
