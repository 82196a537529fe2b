#include "turn.h"

#include "error.h"

/* So many batches in a row came back unrun: the backend does not do its work. */
enum { MOST_UNRUN = 1000, MOST_LOST = 3 };

static void reap_one(par_parallel *parallel, struct batch *batch)
{
	const struct call *call = &parallel->engine->call;
	uint64_t quota = batch->quota, ran = batch->ran;
	int64_t ns = batch->ran_ns;
	par_error error = PAR_ERROR_INIT;
	int32_t status = instance_retire(&parallel->engine->instance, batch, &error);

	if (ran > 0) {
		/* One that went on beyond its quota still tells how long its quota took. */
		if (quota > 0 && ran > quota)
			ns = (int64_t)((double)ns * (double)quota / (double)ran);
		batcher_completed(&parallel->engine->batcher, quota > 0 && ran > quota ? quota : ran, ns);
		parallel->unrun = parallel->lost = 0;
		return;
	}
	if (call_is_stopping(call) || atomic_load(&call->seated) >= call->n_jobs ||
	    cursor_waiting(&call->cursor) + cursor_claimed(&call->cursor) == 0)
		return;
	parallel->lost += status != PAR_OK;
	if (++parallel->unrun <= MOST_UNRUN && parallel->lost <= MOST_LOST)
		return;
	if (error.what[0] == '\0') {
		error_prefix(&error, "backend \"%s\" gave %u batches in a row back without running them",
		             parallel->engine->instance.provider->name, parallel->unrun);
		if (status != PAR_OK && error.reason[0] == '\0')
			error_reason(&error, "the last with %s", par_code_name(status));
	}
	parallel->error = error;
	turn_stop(parallel, status < 0 ? status : PAR_EFAILED);
}

/* Words of why a batch was not run, for which its backend had only a number. */
static void describe_unrun(par_parallel *parallel, int32_t status, par_error *error)
{
	if (error->what[0] == '\0')
		error_prefix(error, "backend \"%s\" cannot run batches",
		             parallel->engine->instance.provider->name);
	if (error->reason[0] == '\0')
		error_reason(error, "it gave one back with %s", par_code_name(status));
}

static void stop_in_trouble(par_parallel *parallel)
{
	const struct remote *remote = &parallel->engine->instance.remote;

	if (remote->is_refused) {
		parallel->error = remote->refusal;
		turn_stop(parallel, remote->refusal.code < 0 ? remote->refusal.code : PAR_EFAILED);
	} else {
		turn_stop(parallel, error_memory(&parallel->error, remote->out_of_memory));
	}
}

/* So many batches in a row came to nothing that more of them would not. */
static void describe_unstarted(const par_parallel *parallel, int32_t status, par_error *error)
{
	uint32_t n = parallel->engine->instance.remote.unstarted;

	if (status == PAR_ELOST)
		error_set(error, PAR_ELOST, "%u workers in a row died before they began a task", n);
	else
		error_set(error, PAR_EFAILED, "backend \"%s\" gave %u batches in a row back without running them",
		          parallel->engine->instance.provider->name, n);
}

/* Tasks that were lost with a worker are sent again, and not its backend's fault. */
static void judge_remote(par_parallel *parallel, int32_t status, par_error *error)
{
	struct remote *remote = &parallel->engine->instance.remote;

	if (remote_is_in_trouble(remote)) {
		stop_in_trouble(parallel);
	} else if (status < 0 && status != PAR_ELOST && status != PAR_EABORTED) {
		describe_unrun(parallel, status, error);
		parallel->error = *error;
		turn_stop(parallel, status);
	} else if (remote->unstarted > MOST_UNRUN) {
		describe_unstarted(parallel, status, error);
		parallel->error = *error;
		turn_stop(parallel, error->code);
	}
}

/* Of a backend in another address space. */
static void reap_remote(par_parallel *parallel, struct batch *batch)
{
	struct remote *remote = &parallel->engine->instance.remote;
	par_error *error = &parallel->engine->instance.unrun;
	/* What it ran is known once it was retired, and then it is closed. */
	uint64_t n = batch->quota, place = (uint64_t)(batch - parallel->engine->instance.batches.places);
	int32_t status = instance_retire(&parallel->engine->instance, batch, error);

	if (remote->parcels[place].ran == n)
		batcher_completed(&parallel->engine->batcher, n, remote->parcels[place].ran_ns);
	if (!call_is_stopping(&parallel->engine->call))
		judge_remote(parallel, status, error);
	if (status != PAR_OK || error->what[0] != '\0')
		*error = (par_error)PAR_ERROR_INIT;
}

void turn_reap(par_parallel *parallel)
{
	struct batch *batch = batch_take_completed(&parallel->engine->instance.batches), *next;

	for (; batch != NULL; batch = next) {
		next = batch->next;
		if (parallel->engine->instance.has_remote)
			reap_remote(parallel, batch);
		else
			reap_one(parallel, batch);
	}
}
