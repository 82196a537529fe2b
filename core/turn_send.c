#include "turn.h"

#include "log.h"

#include <stdio.h>

/* Workers elsewhere have batches for so long at least, if they are short. */
#define AHEAD_NS 200000

/* What the backend wants in its next batch.  A batch of no task would never end the call. */
static uint64_t asked_of_backend(const struct instance *instance)
{
	int32_t asked = instance->provider->ops.compute_batch_size(instance->backend);
	const char *name = instance->provider->name;
	char topic[80];

	if (asked > 0)
		return (uint64_t)asked;
	(void)snprintf(topic, sizeof(topic), "compute_batch_size of %s", name);
	log_once(topic, LOG_WARNING, "backend \"%s\": its compute_batch_size() is %d, not 1 or more, and taken "
	                             "for 1; parloop check tells its author more", name, asked);
	return 1;
}

static uint64_t quota(par_parallel *parallel)
{
	uint64_t tasks = 1;

	if (parallel->engine->instance.provider->ops.compute_batch_size != NULL) {
		tasks = asked_of_backend(&parallel->engine->instance);
	} else if (instance_can(&parallel->engine->instance, PAR_AUTO_BATCHES)) {
		tasks = batcher_size(&parallel->engine->batcher);
	}
	return tasks > parallel->plan.batch_size ? tasks : parallel->plan.batch_size;
}

static uint32_t allowed_out(par_parallel *parallel)
{
	uint32_t holds = instance_holds(&parallel->engine->instance);

	if (atomic_load_explicit(&parallel->engine->call.helping, memory_order_relaxed) && holds > 0)
		return holds >= parallel->engine->call.n_jobs ? parallel->engine->call.n_jobs - 1 : holds;
	return holds;
}

uint32_t turn_due(par_parallel *parallel)
{
	struct redo *redo = &parallel->engine->call.redo;

	return redo_is_empty(redo) ? 0 : redo_due(redo, loop_now(), parallel->engine->call.n_jobs);
}

/* Tasks that go to a worker elsewhere together: as many as the caller says. */
static uint64_t tasks_of_batch(par_parallel *parallel)
{
	return parallel->plan.batch_size > 0 ? parallel->plan.batch_size : quota(parallel);
}

/* Batches that workers elsewhere may have: where they are short, as many as last for a while,
 * so that nobody waits for the next; in the end only what they are at. */
static uint32_t batches_ahead(par_parallel *parallel)
{
	const struct call *call = &parallel->engine->call;
	uint32_t holds = allowed_out(parallel), jobs = holds < call->n_jobs ? holds : call->n_jobs;
	int64_t task_ns = atomic_load_explicit(&call->task_ns, memory_order_relaxed);
	uint64_t tasks = parallel->quota, depth;
	int64_t ns = task_ns * (int64_t)tasks;

	if (task_ns == 0)
		return jobs;
	depth = ns >= AHEAD_NS ? 2 : 1 + (uint64_t)(AHEAD_NS / (ns > 0 ? ns : 1));
	if (task_ns >= AHEAD_NS / 4 && remote_waiting(&parallel->engine->instance.remote) <= 2 * jobs)
		depth = 1;
	return depth * jobs < holds ? (uint32_t)depth * jobs : holds;
}

static int has_tasks_to_send(par_parallel *parallel)
{
	return !call_is_stopping(&parallel->engine->call) &&
	       (remote_waiting(&parallel->engine->instance.remote) > 0 || turn_due(parallel) > 0);
}

static uint32_t remote_batches(par_parallel *parallel)
{
	uint32_t out = parallel->engine->instance.batches.n_out, most;

	if (!has_tasks_to_send(parallel))
		return 0;
	most = batches_ahead(parallel);
	return most > out ? most - out : 0;
}

static uint32_t batches_to_send(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;
	uint32_t due_now;
	uint32_t n;
	uint64_t work;

	if (parallel->engine->instance.has_remote)
		return remote_batches(parallel);
	due_now = turn_due(parallel);
	n = dispatcher_batches(call, parallel->engine->instance.batches.n_out, allowed_out(parallel),
	                       due_now);
	if (n == 0 || call->is_stream || !atomic_load_explicit(&call->helping, memory_order_relaxed))
		return n;
	/* One of the last we run ourselves: nobody is woken for it. */
	work = cursor_unclaimed(&call->cursor) + due_now;
	return work > n || work == 0 ? n : (uint32_t)work - 1;
}

/* How many are at work, as far as one can tell from here. */
static void count_remote(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;
	uint32_t out = parallel->engine->instance.batches.n_out;

	atomic_store_explicit(&call->seated, out < call->n_jobs ? out : call->n_jobs,
	                      memory_order_relaxed);
}

static void send_remote(par_parallel *parallel)
{
	struct instance *instance = &parallel->engine->instance;
	int is_fixed = parallel->plan.batch_size > 0 || instance->provider->ops.compute_batch_size != NULL;
	int32_t status = PAR_OK;
	uint32_t n = 0;

	/* Asked once a turn: whoever looks for something to do has no new answer each time. */
	if (has_tasks_to_send(parallel)) {
		parallel->quota = tasks_of_batch(parallel);
		n = remote_batches(parallel);
	}
	for (; n > 0 && status == PAR_OK; n--)
		status = instance_send(instance, tasks_of_batch(parallel), is_fixed, &parallel->error);
	if (status < 0)
		turn_stop(parallel, status);
	count_remote(parallel);
}

void turn_send(par_parallel *parallel)
{
	uint32_t n;

	if (parallel->engine->instance.has_remote) {
		send_remote(parallel);
		return;
	}
	n = batches_to_send(parallel);

	while (n-- > 0) {
		int32_t status = instance_submit(&parallel->engine->instance, quota(parallel), &parallel->error);

		if (status < 0) {
			turn_stop(parallel, status);
			return;
		}
		/* Inline, it has run already: nothing may be left for the next. */
		if (instance_can(&parallel->engine->instance, PAR_RUNS_INLINE))
			turn_reap(parallel);
	}
}

int turn_can_send(par_parallel *parallel)
{
	return batches_to_send(parallel) > 0;
}

int turn_has_room(par_parallel *parallel)
{
	const struct engine *engine = parallel->engine;

	return engine->instance.batches.n_out <
	       (engine->instance.has_remote ? batches_ahead(parallel) : allowed_out(parallel));
}
