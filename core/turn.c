#include "parallel.h"

#include "context.h"
#include "error.h"
#include "log.h"
#include "pre_dispatch.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* How long the loop's thread takes part before it looks around. */
#define HELP_NS 50000

/* A worker, or the loop, looks out for this long before it sleeps. */
#define SPIN_NS 50000

/* For an answer from another process for so long: its spinning, and ours, must outlast the time
 * that it takes to wake either, or each finds the other asleep for ever. */
#define REMOTE_SPIN_NS 200000

/* Tasks of a stream that may be under way for each worker, once one has completed. */
enum { WINDOW_PER_WORKER = 1024 };

/* Where a batch takes milliseconds to get there, it has many tasks. */
enum { WINDOW_ELSEWHERE = 32 * 1024 };

/* Places of the ring for each that may be under way, where results come as they are over:
 * one slow task then holds nobody up for long. */
enum { UNORDERED_ROOM = 64 };

/* Beyond so many places the ring does not grow, whatever the settings ask for: half a
 * gigabyte, of which only what is used is ever touched. */
#define MOST_ROOM ((uint64_t)1 << 24)

/* Tasks taken from the source before anything else has its turn. */
enum { TAKE_AT_ONCE = 256 };

/* So many batches in a row came back unrun: the backend does not do its work. */
enum { MOST_UNRUN = 1000, MOST_LOST = 3 };

/* A call that need not wait for its running tasks gives them this time to end. */
#define LEAVE_NS 5000000

/* Tasks are looked at so often at most, whatever their time-out. */
#define LOOK_NS 1000000

/* Workers elsewhere have batches for so long at least, if they are short. */
#define AHEAD_NS 200000

/* Towards its end a call's rest is shared out, in batches that take such a part of the shortest. */
enum { LEAST_PART = 16 };

/* What plugins watch is served so often at least, also while nobody sleeps. */
#define SERVE_NS 100000

/* Progress is told so often at most. */
#define PROGRESS_NS 100000000

/* A backend that has lost all its workers may find others within this time. */
#define NO_WORKER_NS ((int64_t)30 * 1000000000)

/* --- beginning ------------------------------------------------------------------------------ */

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

/* -1: nobody knows. */
static int64_t total_tasks(const par_parallel *parallel)
{
	return parallel->engine->call.is_stream ? parallel->plan.n_tasks
	                                        : (int64_t)parallel->engine->call.n_tasks;
}

/* Tasks that are over, as far as workers have told. */
static uint64_t over_tasks(const par_parallel *parallel)
{
	const struct call *call = &parallel->engine->call;
	uint64_t redone = atomic_load_explicit(&call->redone, memory_order_relaxed);
	uint64_t finished = atomic_load_explicit(&call->finished, memory_order_relaxed);
	uint64_t over = finished > redone ? finished - redone : 0;

	if (call->is_stream)
		return over > parallel->results.delivered ? over : parallel->results.delivered;
	return over < call->n_tasks ? over : call->n_tasks;
}

static void tell_progress(par_parallel *parallel, int64_t now_ns)
{
	const struct call *call = &parallel->engine->call;
	int64_t total = total_tasks(parallel);
	par_progress progress = {
		.size = sizeof(progress),
		.done = over_tasks(parallel),
		.failed = atomic_load_explicit(&call->failed, memory_order_relaxed),
		.running = atomic_load_explicit(&call->seated, memory_order_relaxed),
		.elapsed_s = (double)(now_ns - parallel->begun_ns) / 1e9,
		.remaining_s = -1,
	};

	/* A failure is told at once, the rest when it is convenient. */
	if (progress.done < progress.failed)
		progress.done = progress.failed;
	/* That a task is to run again is known before that it has run. */
	if (progress.done < parallel->told_done)
		progress.done = parallel->told_done;
	if (total < 0 && parallel->dispatcher.exhausted)
		total = (int64_t)parallel->dispatcher.taken;
	progress.total = total >= 0 ? (uint64_t)total : UINT64_MAX;
	if (total >= 0 && progress.done > 0)
		progress.remaining_s = progress.done >= progress.total
		                               ? 0
		                               : progress.elapsed_s / (double)progress.done *
		                                         (double)(progress.total - progress.done);
	parallel->told_ns = now_ns;
	parallel->told_done = progress.done;
	parallel->plan.on_progress(parallel->plan.watcher, &progress);
}

static void show(par_parallel *parallel, const char *line)
{
	FILE *out = parallel->plan.verbose >= PROGRESS_STDOUT ? stdout : stderr;

	fputs(line, out);
	fflush(out);
}

static void show_start(par_parallel *parallel)
{
	char line[PROGRESS_LINE];

	parallel->progress = (struct progress){
		.verbose = parallel->plan.verbose,
		.n_jobs = parallel->wants.n_jobs,
		.total = total_tasks(parallel),
		.pre_dispatch = parallel->dispatcher.pre_dispatch == UINT64_MAX
		                        ? 0
		                        : parallel->dispatcher.pre_dispatch,
	};
	parallel->shown = (struct progress_point){0};
	if (progress_start(&parallel->progress, parallel->engine->instance.provider->name,
	                   parallel->engine->instance.answer.n_jobs, line, sizeof(line)))
		show(parallel, line);
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

/* The backend is up: plan the call for what it is, and begin. */
static int32_t set_out(par_parallel *parallel)
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
		tell_progress(parallel, parallel->started_ns);
	if (parallel->plan.verbose > 0)
		show_start(parallel);
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

/* --- ending --------------------------------------------------------------------------------- */

/* The call ends early; the first reason counts. */
static void stop(par_parallel *parallel, int32_t status)
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
		tell_progress(parallel, loop_now());
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

/* --- a turn ----------------------------------------------------------------------------------- */

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
	stop(parallel, status < 0 ? status : PAR_EFAILED);
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
		stop(parallel, remote->refusal.code < 0 ? remote->refusal.code : PAR_EFAILED);
	} else {
		stop(parallel, error_memory(&parallel->error, remote->out_of_memory));
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
		stop(parallel, status);
	} else if (remote->unstarted > MOST_UNRUN) {
		describe_unstarted(parallel, status, error);
		parallel->error = *error;
		stop(parallel, error->code);
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

static void reap(par_parallel *parallel)
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

static uint64_t finished_tasks(const par_parallel *parallel)
{
	return parallel->engine->call.is_stream ? parallel->results.delivered : over_tasks(parallel);
}

static void show_progress(par_parallel *parallel, int is_over)
{
	struct progress_point point = {
		.sent = parallel->engine->call.is_stream ? parallel->dispatcher.taken : parallel->engine->call.n_tasks,
		.exhausted = !parallel->engine->call.is_stream || parallel->dispatcher.exhausted,
		.elapsed_s = (double)(loop_now() - parallel->started_ns) / 1e9,
	};
	uint64_t now = is_over ? point.sent : finished_tasks(parallel);
	char line[PROGRESS_LINE];

	/* Each task is a point that thinning may choose; of a great many, the last thousand. */
	if (now - parallel->shown.completed > 1000)
		parallel->shown.completed = now - 1000;
	while (parallel->shown.completed < now) {
		if (parallel->shown.completed + 1 == point.sent && !is_over && point.exhausted)
			return;
		parallel->shown.completed++;
		point.completed = point.batches = parallel->shown.completed;
		if (progress_at(&parallel->progress, &point, line, sizeof(line)))
			show(parallel, line);
	}
}

static uint64_t quota(par_parallel *parallel)
{
	const par_backend_ops *ops = &parallel->engine->instance.provider->ops;
	uint64_t tasks = 1;
	int32_t asked;

	if (ops->compute_batch_size != NULL) {
		asked = ops->compute_batch_size(parallel->engine->instance.backend);
		tasks = asked > 0 ? (uint64_t)asked : 1;
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

/* Tasks to be tried again whose time has come. */
static uint32_t due(par_parallel *parallel)
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
	       (remote_waiting(&parallel->engine->instance.remote) > 0 || due(parallel) > 0);
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
	due_now = due(parallel);
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
		stop(parallel, status);
	count_remote(parallel);
}

static void send_batches(par_parallel *parallel)
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
			stop(parallel, status);
			return;
		}
		/* Inline, it has run already: nothing may be left for the next. */
		if (instance_can(&parallel->engine->instance, PAR_RUNS_INLINE))
			reap(parallel);
	}
}

static void check_workers(par_parallel *parallel, int64_t now)
{
	if (instance_holds(&parallel->engine->instance) > 0) {
		parallel->no_worker_ns = 0;
		return;
	}
	if (parallel->no_worker_ns == 0)
		parallel->no_worker_ns = now;
	if (now - parallel->no_worker_ns < NO_WORKER_NS || parallel->status != PAR_OK)
		return;
	error_set(&parallel->error, PAR_EUNAVAIL, "%s has no active worker",
	          parallel->engine->instance.provider->name);
	error_reason(&parallel->error, "the last one left, and none came within %lld s",
	             (long long)(NO_WORKER_NS / 1000000000));
	stop(parallel, PAR_EUNAVAIL);
}

static int some_task_is_over(const par_parallel *parallel)
{
	return parallel->results.delivered > 0 ||
	       atomic_load_explicit(&parallel->engine->call.finished, memory_order_relaxed) > 0;
}

/* Of a call that is stopping.  par_cancel() says first that it was cancelled. */
static int was_cancelled(const par_parallel *parallel)
{
	return atomic_load_explicit(&parallel->engine->call.stopping, memory_order_acquire) &&
	       atomic_load_explicit(&parallel->cancelled, memory_order_relaxed);
}

/* A call that was cancelled, or timed out, hands out nothing more; one that failed does
 * what came before the failure. */
static int may_deliver(const par_parallel *parallel)
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

static void stream(par_parallel *parallel)
{
	int32_t code;

	if (may_deliver(parallel))
		results_deliver(&parallel->results, &parallel->engine->call, parallel->dispatcher.taken);
	if (parallel->results.stopped && parallel->status == PAR_OK)
		stop(parallel, PAR_ECANCELED);
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
		stop(parallel, code);
}

/* Everything was handed out, or nothing more will be. */
static int is_at_end(const par_parallel *parallel)
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

/* Once: that the call is over, but returns only when its tasks have left the caller's memory. */
static void tell_late(par_parallel *parallel)
{
	if (!parallel->told_late)
		log_line(LOG_WARNING, "a call is over, and waits for %u workers whose tasks still use the "
		                      "caller's memory",
		         atomic_load(&parallel->engine->call.seated));
	parallel->told_late = 1;
}

static int call_is_late(const par_parallel *parallel)
{
	return parallel->plan.call_timeout_ns > 0 &&
	       loop_now() - parallel->begun_ns >= parallel->plan.call_timeout_ns;
}

/* Does the call end now, although tasks of it still run? */
static int leaves(par_parallel *parallel)
{
	int64_t now;

	if (parallel->status != PAR_ETIMEOUT && parallel->results.n_expired == 0 &&
	    !parallel->is_dropped && !call_is_late(parallel))
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
	if (!is_at_end(parallel)) {
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

static int has_result(const par_parallel *parallel)
{
	const struct call *call = &parallel->engine->call;
	const struct results *results = &parallel->results;
	uint8_t state;

	if (!call->is_stream || !may_deliver(parallel))
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

/* Is there a result to wait for?  Not while the source has none to begin with, nor when it is
 * there and only has to be handed out, or taken by an iterator. */
static int is_pending(const par_parallel *parallel)
{
	if (parallel->engine->call.is_stream)
		return !parallel->results.holds && !has_result(parallel) &&
		       parallel->results.delivered < parallel->dispatcher.taken;
	return parallel->engine->instance.batches.n_out > 0 || !is_at_end(parallel);
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
		code = set_out(parallel);
	}
	if (code < 0)
		parallel->status = code;
	return code < 0;
}

/* Once the whole call is out of time, all that run have been told of. */
static int times_tasks(const par_parallel *parallel)
{
	return parallel->plan.task_timeout_ns > 0 && parallel->status != PAR_ETIMEOUT;
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

static void keep_deadlines(par_parallel *parallel)
{
	const struct plan *plan = &parallel->plan;

	if (times_tasks(parallel))
		expire_tasks(parallel, loop_now());
	if (call_is_stopping(&parallel->engine->call))
		return;
	if (plan->timeout_ns > 0 && results_overdue(&parallel->results, finished_tasks(parallel),
	                                            is_pending(parallel), loop_now())) {
		stop(parallel, PAR_ETIMEOUT);
	} else if (call_is_late(parallel)) {
		parallel->late_call = 1;
		stop(parallel, PAR_ETIMEOUT);
	}
}

static void tell_on_the_way(par_parallel *parallel)
{
	int64_t now = loop_now();

	if (now - parallel->told_ns >= PROGRESS_NS && over_tasks(parallel) != parallel->told_done)
		tell_progress(parallel, now);
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
	if (parallel->phase == PHASE_RISING && call_is_late(parallel)) {
		parallel->late_call = 1;
		parallel->status = PAR_ETIMEOUT;
		return 1;
	}
	if (parallel->phase == PHASE_RISING && rise(parallel))
		return 1;
	if (parallel->phase == PHASE_RISING)
		return 0;
	(void)instance_poll(&parallel->engine->instance, 0);
	reap(parallel);
	/* Before anything is handed out: tasks that saw it end as they like. */
	if (__builtin_expect(atomic_load_explicit(&parallel->cancelled, memory_order_relaxed), 0))
		stop(parallel, PAR_ECANCELED);
	if (call->is_stream)
		stream(parallel);
	/* It may have been cancelled only now. */
	if (__builtin_expect(call_is_stopping(call) && !parallel->is_done, 0))
		stop(parallel, was_cancelled(parallel) ? PAR_ECANCELED : PAR_EFAILED);
	if (plan_has_deadline(&parallel->plan))
		keep_deadlines(parallel);
	if (__builtin_expect(instance_holds(&parallel->engine->instance) == 0 || parallel->no_worker_ns > 0, 0))
		check_workers(parallel, loop_now());
	send_batches(parallel);
	if (call->is_stream && instance_can(&parallel->engine->instance, PAR_RUNS_INLINE))
		stream(parallel);
	over = is_over(parallel);
	if (over && call->is_stream && may_deliver(parallel))
		results_deliver(&parallel->results, call, parallel->dispatcher.taken);
	if (__builtin_expect(parallel->plan.verbose > 0, 0))
		show_progress(parallel, over && parallel->status == PAR_OK);
	if (__builtin_expect(parallel->plan.on_progress != NULL, 0))
		tell_on_the_way(parallel);
	events_hand_out(&call->events);
	return over;
}

/* --- waiting, and taking part ---------------------------------------------------------------- */

static int can_send(par_parallel *parallel)
{
	return batches_to_send(parallel) > 0;
}

static int can_take(const par_parallel *parallel)
{
	const struct call *call = &parallel->engine->call;

	return call->is_stream && !call_is_stopping(call) &&
	       !instance_can(&parallel->engine->instance, PAR_RUNS_INLINE) &&
	       dispatcher_may_take(&parallel->dispatcher, call, parallel->results.delivered,
	                           parallel->results.oldest, some_task_is_over(parallel));
}

static int was_woken(const par_parallel *parallel)
{
	return parallel->dispatcher.waits && !call_is_stopping(&parallel->engine->call) &&
	       atomic_load_explicit(&parallel->woken, memory_order_relaxed);
}

/* All workers left since this turn looked: their deadline is to be set first. */
static int lost_workers(const par_parallel *parallel)
{
	return parallel->no_worker_ns == 0 && instance_holds(&parallel->engine->instance) == 0;
}

int turn_is_idle(void *arg)
{
	par_parallel *parallel = arg;

	if (!closing_is_idle(parallel))
		return 0;
	if (parallel->engine == NULL)
		return 1;
	if (parallel->phase == PHASE_IDLE && parallel->is_closing)
		return 0;
	if (parallel->phase == PHASE_IDLE && instance_is_pending(&parallel->engine->instance))
		return !instance_is_ready(&parallel->engine->instance);
	if (parallel->phase == PHASE_IDLE)
		return 1;
	if (parallel->phase == PHASE_RISING)
		return !instance_is_ready(&parallel->engine->instance) && !atomic_load(&parallel->cancelled);
	return !batch_has_completed(&parallel->engine->instance.batches) && !has_result(parallel) &&
	       !can_take(parallel) && !can_send(parallel) && !was_woken(parallel) &&
	       !lost_workers(parallel) && !events_has_some(&parallel->engine->call.events) &&
	       (parallel->aborted || ((parallel->is_done || !call_is_stopping(&parallel->engine->call)) &&
	                              !atomic_load(&parallel->cancelled)));
}

/* A task failed after the deadline was reckoned, while nobody knew yet that we would sleep. */
static int has_new_retry(par_parallel *parallel)
{
	return redo_first_due(&parallel->engine->call.redo) < parallel->retry_ns;
}

int turn_may_sleep(void *arg)
{
	par_parallel *parallel = arg;

	if (parallel->engine != NULL)
		(void)atomic_exchange_explicit(&parallel->engine->call.hungry, 1, memory_order_acq_rel);
	if (parallel->phase == PHASE_RUNNING && instance_poll(&parallel->engine->instance, 1))
		return 0;
	if (parallel->phase == PHASE_RUNNING && has_new_retry(parallel))
		return 0;
	return turn_is_idle(parallel);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* There is room for one more batch, once there is something for it. */
static int has_room(par_parallel *parallel)
{
	const struct engine *engine = parallel->engine;

	return engine->instance.batches.n_out <
	       (engine->instance.has_remote ? batches_ahead(parallel) : allowed_out(parallel));
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
	if (retry != INT64_MAX && has_room(parallel))
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

static void stop_helping(struct call *call)
{
	if (atomic_load_explicit(&call->helping, memory_order_relaxed)) {
		atomic_store_explicit(&call->helping, 0, memory_order_relaxed);
		atomic_store_explicit(&call->yield, 0, memory_order_relaxed);
	}
}

/* What a task takes, to decide whether to take part.  In a stream the last ones count, since
 * source and sink wait meanwhile.  In arrays nobody waits: there it is the mean, so that a
 * few long ones do not make us come and go, which each time leaves a core to nobody. */
static int64_t usual_task_ns(const struct call *call)
{
	uint64_t finished = atomic_load_explicit(&call->finished, memory_order_relaxed);

	if (call->is_stream || finished == 0)
		return atomic_load_explicit(&call->task_ns, memory_order_relaxed);
	return atomic_load_explicit(&call->busy_ns, memory_order_relaxed) / (int64_t)finished + 1;
}

/* Take part for a while, if tasks are short; 1: did. */
static int help(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;
	int64_t task_ns = usual_task_ns(call);
	struct ticket_report report;

	if (!parallel->may_help || call_is_stopping(call))
		return 0;
	if (task_ns == 0 && !atomic_load_explicit(&call->helping, memory_order_relaxed))
		return 0;
	if (task_ns > SHORT_TASK_NS) {
		stop_helping(call);
		return 0;
	}
	if (cursor_is_dry(&call->cursor) && due(parallel) == 0) {
		/* What is to be tried later is sent, for which we may not take the place of one. */
		if (!redo_is_empty(&call->redo))
			stop_helping(call);
		return 0;
	}
	atomic_store_explicit(&call->helping, 1, memory_order_relaxed);
	if (atomic_load_explicit(&call->seated, memory_order_relaxed) >= call->n_jobs) {
		atomic_store_explicit(&call->yield, 1, memory_order_relaxed);
		return 0;
	}
	atomic_store_explicit(&call->yield, 0, memory_order_relaxed);
	ticket_run(call, 0, HELP_NS, &report);
	return report.ran > 0;
}

/* A system call, so not every time. */
static void serve_watches(par_parallel *parallel, int64_t now)
{
	if (parallel->loop.first_watch == NULL || now - parallel->served_ns < SERVE_NS)
		return;
	loop_turn(&parallel->loop);
	parallel->served_ns = now;
}

/* Look out before sleeping, as long as there is a core for that. */
static int look_out(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;
	int64_t begin, until;

	if (call->spin_ns == 0 || parallel->phase != PHASE_RUNNING ||
	    atomic_load(&call->seated) >= (uint32_t)parallel->cores)
		return 0;
	begin = loop_now();
	until = begin + (parallel->engine->instance.has_remote ? REMOTE_SPIN_NS : call->spin_ns);
	do {
		for (int i = 0; i < 16; i++) {
			if (instance_poll(&parallel->engine->instance, 0) || !turn_is_idle(parallel)) {
				serve_watches(parallel, begin);
				return 1;
			}
#if defined(__x86_64__) || defined(__i386__)
			__builtin_ia32_pause();
#endif
		}
		/* The worker may have been woken on this very core. */
		if (parallel->engine->instance.has_remote)
			sched_yield();
	} while (loop_now() < until);
	return 0;
}

/* Nothing to do in this turn: wait for somebody. */
static void wait(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;

	if (help(parallel)) {
		serve_watches(parallel, loop_now());
		return;
	}
	if (look_out(parallel))
		return;
	loop_wait(&parallel->loop, turn_deadline(parallel), turn_may_sleep);
	/* An exchange: a store would part us from results whose workers found it 0. */
	(void)atomic_exchange_explicit(&call->hungry, 0, memory_order_acq_rel);
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
	wait(parallel);
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

void turn_hand_out(par_parallel *parallel)
{
	if (may_deliver(parallel))
		results_deliver(&parallel->results, &parallel->engine->call, parallel->dispatcher.taken);
}
