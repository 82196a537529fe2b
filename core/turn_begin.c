#include "turn.h"

#include "context.h"
#include "error.h"
#include "log.h"
#include "pre_dispatch.h"

#include <pthread.h>
#include <sys/random.h>

/* A worker looks out for this long before it sleeps, and so does the loop. */
#define SPIN_NS 50000

/* Tasks of a stream that may be under way for each worker, once one has completed. */
enum { WINDOW_PER_WORKER = 1024 };

/* Where a batch takes milliseconds to get there, it has many tasks. */
enum { WINDOW_ELSEWHERE = 32 * 1024 };

/* Places of the ring for each that may be under way, where results come as they are over:
 * one slow task then holds nobody up for long. */
enum { UNORDERED_ROOM = 64 };

/* Towards its end a call's rest is shared out, in batches that take such a part of the shortest. */
enum { LEAST_PART = 16 };

/* Beyond so many places the ring does not grow, whatever the settings ask for: half a
 * gigabyte, of which only what is used is ever touched. */
#define MOST_ROOM ((uint64_t)1 << 24)

/* Tasks taken from the source before anything else has its turn. */
enum { TAKE_AT_ONCE = 256 };

static void forget_slot(void *parallel, const struct slot *slot)
{
	dispatcher_delivered(&((par_parallel *)parallel)->dispatcher, slot);
}

static int32_t have_slots(par_parallel *parallel, uint64_t wanted, int grows, par_error *error)
{
	struct call *call = &parallel->engine->call;

	if (parallel->engine->has_slots && !grows && call->slots.mask != UINT64_MAX &&
	    parallel->engine->slots_asked == wanted)
		return PAR_OK;
	if (parallel->engine->has_slots)
		slots_finish(&call->slots);
	parallel->engine->has_slots = 0;
	if (slots_init(&call->slots, wanted, grows) < 0)
		return error_memory(error, "cannot queue tasks");
	parallel->engine->has_slots = 1;
	parallel->engine->slots_asked = wanted;
	return PAR_OK;
}

/* joblib's n_jobs=1: as many tasks are taken as make a batch, run, delivered. */
static void plan_inline(par_parallel *parallel)
{
	uint64_t batch = parallel->plan.batch_size > 0 ? parallel->plan.batch_size : 1;

	parallel->dispatcher.pre_dispatch = batch;
	parallel->dispatcher.window = batch;
}

/* Tasks under way once one has completed: enough for every worker, but no more than the ring
 * has places for, also where results come as they are over.  Where even two batches each
 * are more than that, batches are smaller. */
static uint64_t window_of(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;
	uint64_t piece = parallel->plan.batch_size > 0 ? parallel->plan.batch_size : 1;
	uint64_t each = instance_can(&parallel->engine->instance, PAR_ELSEWHERE) ? WINDOW_ELSEWHERE
	                                                                        : WINDOW_PER_WORKER;
	uint64_t least = 2 * piece * call->n_jobs, window = each * piece * call->n_jobs;
	uint64_t most = MOST_ROOM / UNORDERED_ROOM;

	most = least < most ? most : least < MOST_ROOM ? least : MOST_ROOM;
	window = window < most ? window : most;
	if (call->piece > window / (2 * call->n_jobs))
		call->piece = (uint32_t)(window / (2 * call->n_jobs));
	return window;
}

static int32_t plan_stream(par_parallel *parallel, par_error *error)
{
	struct dispatcher *dispatcher = &parallel->dispatcher;
	uint64_t pre_dispatch, window = window_of(parallel), room;
	int32_t code;
	int grows;

	code = pre_dispatch_tasks(parallel->plan.pre_dispatch, parallel->engine->instance.answer.n_jobs,
	                          &pre_dispatch, error);
	if (code != PAR_OK)
		return code;
	dispatcher->pre_dispatch = pre_dispatch;
	dispatcher->window = window > pre_dispatch || pre_dispatch == UINT64_MAX ? window : pre_dispatch;
	if (instance_can(&parallel->engine->instance, PAR_RUNS_INLINE))
		plan_inline(parallel);
	grows = dispatcher->pre_dispatch == UINT64_MAX;
	room = grows || dispatcher->window > dispatcher->pre_dispatch ? dispatcher->window
	                                                              : dispatcher->pre_dispatch;
	if (parallel->plan.unordered)
		room *= UNORDERED_ROOM;
	room = room < MOST_ROOM ? room : MOST_ROOM;
	dispatcher->turn = TAKE_AT_ONCE;
	code = have_slots(parallel, room, grows, error);
	dispatcher->room = grows ? CURSOR_SPAN : parallel->engine->call.slots.base;
	return code;
}

static void plan_array(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;

	/* A cursor counts 2^31 units at most. */
	call->unit = call->n_tasks / (CURSOR_SPAN / 2) + 1;
	if (call->piece > 0)
		call->piece = (uint32_t)((call->piece + call->unit - 1) / call->unit);
	cursor_extend(&call->cursor, (call->n_tasks + call->unit - 1) / call->unit);
}

/* What calls made inside the tasks inherit. */
static int32_t nest(par_parallel *parallel)
{
	struct engine *engine = parallel->engine;
	struct instance *instance = &engine->instance;
	struct par_call here = instance->wants;
	int32_t code;

	/* The pool may have been opened outside of the task that makes this call. */
	nesting_describe(instance->provider, &here);
	(void)settings_oversubscribe(&parallel->opened, nesting_oversubscribe(), parallel->conf,
	                             &here.oversubscribe, NULL);
	instance_limit(instance, nesting_most(instance->provider, &here));
	nesting_finish(&engine->nesting);
	code = nesting_begin(&engine->nesting, &engine->call.context, parallel->provider,
	                     parallel->options, instance->provider, instance->backend,
	                     instance->answer.capabilities, instance_n_jobs(instance),
	                     here.oversubscribe);
	if (instance->wants.inner_max_num_threads > 0)
		engine->call.context.inner_max_num_threads = instance->wants.inner_max_num_threads;
	return code == PAR_OK ? PAR_OK : error_memory(&parallel->error, "cannot begin a call");
}

/* To look out for work is worth a core only where there is one to spare, and somebody else
 * to bring it. */
static int may_spin(const par_parallel *parallel)
{
	return parallel->cores > 1 &&
	       parallel->engine->instance.answer.n_jobs <= parallel->cores &&
	       parallel->engine->instance.most == INT32_MAX &&
	       !instance_can(&parallel->engine->instance, PAR_RUNS_INLINE);
}

static struct {
	pthread_once_t once;
	_Atomic uint64_t next;
} seeds = {.once = PTHREAD_ONCE_INIT};

static void begin_seeds(void)
{
	uint64_t first;

	if (getrandom(&first, sizeof(first), GRND_NONBLOCK) != sizeof(first))
		first = (uint64_t)loop_now();
	atomic_store(&seeds.next, first);
}

/* Another one each time, of a process that nobody can foretell. */
static uint64_t fresh_seed(void)
{
	pthread_once(&seeds.once, begin_seeds);
	return atomic_fetch_add(&seeds.next, 1);
}

static void reset_call(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;

	cursor_reset(&call->cursor);
	call->is_stream = parallel->dispatcher.source != NULL;
	call->unordered = parallel->plan.unordered;
	call->collect = parallel->plan.collect;
	call->shared = parallel->plan.shared;
	call->shared_size = parallel->plan.shared_size;
	call->piece = parallel->plan.batch_size;
	if (call->piece == 0 && call->is_stream && instance_can(&parallel->engine->instance, PAR_RUNS_INLINE))
		call->piece = 1;
	call->unit = 1;
	call->spin_ns = may_spin(parallel) ? SPIN_NS : 0;
	call->task_timeout_ns = parallel->plan.task_timeout_ns;
	call->retries = parallel->plan.retries;
	call->retry_on = parallel->plan.retry_on;
	call->retry_delay_ns = parallel->plan.retry_delay_ns;
	call->seed = parallel->plan.has_seed ? parallel->plan.seed : fresh_seed();
	call->is_inline = instance_can(&parallel->engine->instance, PAR_RUNS_INLINE);
	call->is_single = call->task_timeout_ns > 0 || parallel->plan.on_event != NULL;
	redo_clear(&call->redo);
	events_begin(&call->events, parallel->plan.on_event, parallel->plan.watcher);
	atomic_store(&call->hungry, 0);
	atomic_store(&call->open, call->is_stream);
	atomic_store(&call->yield, 0);
	atomic_store(&call->helping, 0);
	atomic_store(&call->finished, 0);
	atomic_store(&call->busy_ns, 0);
	atomic_store(&call->redone, 0);
	atomic_store(&call->failed, 0);
	atomic_store(&call->reply_bytes, 0);
	atomic_store(&call->done_list, 0);
	call->have_failure = 0;
	if (call->tasks[0] == NULL || call->tasks[0] != parallel->engine->timed) {
		atomic_store(&call->task_ns, 0);
		atomic_store(&call->nests, 0);
	}
	parallel->engine->timed = call->tasks[0];
}

/* May the loop's thread run tasks besides?  One of them may be long, and who watches, or waits
 * for a deadline, is not to wait for it.  Nor may the worker of a pool that has given its place
 * away meanwhile. */
static int may_help(const par_parallel *parallel)
{
	const struct plan *plan = &parallel->plan;
	const struct instance *instance = &parallel->engine->instance;

	return parallel->loop.is_own && !plan_has_deadline(plan) && plan->on_progress == NULL &&
	       instance->most == INT32_MAX && !context_is_employed() &&
	       plan->on_event == NULL && instance_can(instance, PAR_USES_THREADS) &&
	       !instance_can(instance, PAR_RUNS_INLINE);
}

/* Where nobody waits for anything but the end, the first task of an array may as well be run
 * here as be waited for, however long it turns out to be. */
static int joins_at_once(const par_parallel *parallel)
{
	return parallel->may_help && !parallel->engine->call.is_stream &&
	       parallel->engine->instance.answer.n_jobs > 1 && parallel->loop.first_watch == NULL &&
	       parallel->plan.verbose == 0;
}

int32_t turn_set_out(par_parallel *parallel)
{
	const par_backend_ops *ops = &parallel->engine->instance.provider->ops;
	int32_t code = nest(parallel);

	if (code != PAR_OK)
		return code;
	reset_call(parallel);
	if (parallel->engine->call.is_stream)
		code = plan_stream(parallel, &parallel->error);
	else
		plan_array(parallel);
	if (code != PAR_OK)
		return code;
	if (parallel->engine->instance.has_remote)
		remote_begin(&parallel->engine->instance.remote, parallel->plan.max_nbytes,
		             parallel->plan.shared_mode,
		             !parallel->plan.collect && parallel->plan.retries == 0,
		             parallel->engine->batcher.shortest_ns / LEAST_PART);
	if (plan_has_deadline(&parallel->plan) &&
	    instance_can(&parallel->engine->instance, PAR_RUNS_INLINE))
		log_line(LOG_WARNING, "backend %s does not support timeout; it will not be used",
		         parallel->engine->instance.provider->name);
	if (ops->start_call != NULL)
		code = ops->start_call(parallel->engine->instance.backend, &parallel->error);
	if (code < 0 && parallel->error.what[0] == '\0')
		error_prefix(&parallel->error, "backend \"%s\" cannot begin a call",
		             parallel->engine->instance.provider->name);
	if (code < 0)
		return code;
	if (ops->retrieval_enter != NULL)
		ops->retrieval_enter(parallel->engine->instance.backend);
	parallel->may_help = may_help(parallel);
	if (joins_at_once(parallel))
		atomic_store(&parallel->engine->call.helping, 1);
	parallel->engine->in_call = 1;
	parallel->started_ns = parallel->results.since_ns = loop_now();
	parallel->look_ns = parallel->started_ns + parallel->plan.task_timeout_ns;
	parallel->phase = PHASE_RUNNING;
	if (parallel->plan.on_progress != NULL)
		turn_tell(parallel, parallel->started_ns);
	if (parallel->plan.verbose > 0)
		turn_show_start(parallel);
	return PAR_OK;
}

void turn_begin(par_parallel *parallel, const struct job *job)
{
	struct call *call = &parallel->engine->call;

	parallel->status = PAR_OK;
	parallel->error = (par_error)PAR_ERROR_INIT;
	parallel->aborted = 0;
	parallel->unrun = parallel->lost = 0;
	parallel->no_worker_ns = parallel->wait_ns = 0;
	parallel->is_done = parallel->leaves = parallel->late_call = parallel->told_late = parallel->is_dropped = 0;
	parallel->may_help = 0;
	parallel->told_done = 0;
	parallel->quota = 1;
	parallel->begun_ns = loop_now();
	parallel->dispatcher = (struct dispatcher){
		.source = job->source,
		.user = job->user,
		.task = job->task,
		.copies_all = parallel->plan.task_timeout_ns > 0};
	parallel->results = (struct results){
		.sink = job->sink,
		.user = job->user,
		.forget = forget_slot,
		.forget_arg = parallel,
		.cancelled = &parallel->cancelled,
		.timeout_ns = parallel->plan.timeout_ns,
		.leaves_out_failed = parallel->plan.ignore,
		.is_pulled = job->is_pulled,
		.late = "it ran for longer than its task_timeout",
	};
	call->in = job->in;
	call->out = job->out;
	call->n_tasks = job->n;
	call->tasks[0] = job->task;
	call->n_tasks_known = job->task != NULL;
	call->statuses = job->source == NULL ? parallel->plan.statuses : NULL;
	parallel->phase = PHASE_RISING;
}
