#include "parallel.h"

#include "context.h"
#include "cpu.h"
#include "error.h"
#include "hints.h"
#include "log.h"
#include "scope.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *par_version(void)
{
	return PAR_VERSION_STRING;
}

/* --- opening --------------------------------------------------------------------------------- */

/* Where nobody says: what the call around this one left for it, or plugins.conf; the latter
 * is for outermost calls, as inner ones would multiply it. */
static int32_t choose_n_jobs(par_parallel *parallel, const struct wish *wish, par_error *error)
{
	const struct context *context = context_current();
	int *is_set = &parallel->n_jobs_is_set;
	int32_t code = PAR_OK;

	if (wish->resets_n_jobs) {
		*is_set = 0;
	} else if (context->level > 0 && !parallel->opened.n_jobs.set) {
		*is_set = context->n_jobs != 0;
		parallel->wants.n_jobs = context->n_jobs;
	} else {
		code = settings_n_jobs(&parallel->opened, parallel->conf, is_set,
		                       &parallel->wants.n_jobs, error);
	}
	if (!*is_set)
		parallel->wants.n_jobs = 1;
	return code;
}

static int32_t choose_provider(par_parallel *parallel, struct wish *wish, int64_t verbose,
                               const struct provider **provider, par_error *error)
{
	int32_t code = hints_choose(wish, &parallel->opened, verbose, provider, error);

	/* On a caller's loop, or with a time-out, tasks may not run inside submit(). */
	if (code == PAR_OK && !parallel->wants.may_block && ((*provider)->capabilities & PAR_RUNS_INLINE)) {
		parallel->wants.n_jobs = 1;
		hints_forget(wish);
		code = registry_find("threading", provider, error);
	}
	return code == PAR_OK ? scope_check_inner(wish->inner_max_num_threads, *provider, error) : code;
}

static void describe_wants(par_parallel *parallel, const struct plan *plan)
{
	const par_settings *opened = &parallel->opened;
	struct par_call *wants = &parallel->wants;

	wants->size = sizeof(*wants);
	wants->level = context_current()->level;
	wants->verbose = plan->verbose > 50 ? (int32_t)(plan->verbose - 50) : 0;
	wants->may_block = parallel->loop.uv == NULL && plan->timeout_ns == 0;
	wants->require_sharedmem = opened->require != NULL;
	if (opened->prefer != NULL)
		wants->prefer_threads = strcmp(opened->prefer, "threads") == 0 ? 1 : -1;
}

static int32_t plan_opening(par_parallel *parallel, struct wish *wish,
                            const struct provider **provider, par_error *error)
{
	struct plan plan;
	int32_t code;

	code = settings_plan(&parallel->opened, &parallel->opened, parallel->conf, &plan, error);
	if (code == PAR_OK)
		code = choose_n_jobs(parallel, wish, error);
	if (code != PAR_OK)
		return code;
	parallel->cores = cpu_affinity();
	describe_wants(parallel, &plan);
	code = choose_provider(parallel, wish, plan.verbose, provider, error);
	parallel->wants.inner_max_num_threads = (int32_t)wish->inner_max_num_threads.value;
	return code;
}

static void on_loop(void *parallel);

static void par_free(par_parallel *parallel)
{
	turn_unequip(parallel);
	pthread_mutex_destroy(&parallel->call.lock);
	settings_finish(&parallel->opened);
	free(parallel);
}

/* Everything up to the first step of the backend. */
static int32_t create(par_parallel **out, uv_loop_t *uv, const par_settings *settings,
                      par_error *error)
{
	par_parallel *parallel;
	const struct provider *provider = NULL;
	struct wish wish;
	int32_t code;

	if (posix_memalign((void **)&parallel, CACHE_LINE, sizeof(*parallel)) != 0)
		return error_memory(error, "cannot make a par_parallel");
	memset(parallel, 0, sizeof(*parallel));
	pthread_mutex_init(&parallel->call.lock, NULL);
	parallel->thread = pthread_self();
	parallel->pid = getpid();
	parallel->loop.uv = uv;
	parallel->conf = conf_get(error);
	if (parallel->conf != NULL)
		code = scope_settings(&parallel->opened, settings, &wish, parallel->conf, error);
	else
		code = error == NULL ? PAR_ECONFIG : error->code;
	if (code == PAR_OK)
		code = plan_opening(parallel, &wish, &provider, error);
	if (code != PAR_OK)
		goto fail;
	code = loop_init(&parallel->loop, uv, on_loop, parallel, error);
	if (code != PAR_OK)
		goto fail;
	instance_init(&parallel->instance, &parallel->loop, &parallel->call, provider,
	              wish.options, &parallel->wants);
	parallel->instance.n_jobs_is_set = parallel->n_jobs_is_set;
	*out = parallel;
	return PAR_OK;
fail:
	par_free(parallel);
	return code;
}

static int rising_is_idle(void *parallel)
{
	return !instance_is_ready(&((par_parallel *)parallel)->instance);
}

/* Drive the backend up, or down, on our own loop. */
static int32_t drive_instance(par_parallel *parallel, enum instance_goal goal, par_error *error)
{
	int32_t code;

	while ((code = instance_step(&parallel->instance, goal, error)) == PAR_PENDING) {
		loop_wait(&parallel->loop, 0, rising_is_idle);
		loop_run_posts(&parallel->loop);
	}
	return code;
}

int32_t par_open(par_parallel **out, const par_settings *settings, par_error *error)
{
	par_parallel *parallel = NULL;
	int32_t code;

	*out = NULL;
	code = create(&parallel, NULL, settings, error);
	if (code != PAR_OK)
		return code;
	parallel->is_managed = 1;
	code = drive_instance(parallel, INSTANCE_UP, error);
	if (code == PAR_OK)
		code = turn_equip(parallel, error);
	if (code != PAR_OK) {
		par_close(parallel);
		return code;
	}
	parallel->is_up = 1;
	*out = parallel;
	return PAR_OK;
}

void par_close(par_parallel *parallel)
{
	/* In a forked child its threads and its loop are not there: the memory is all there is. */
	if (parallel == NULL || parallel->pid != getpid())
		return;
	if (!parallel->loop.is_own) {
		par_close_on(parallel, NULL, NULL);
		return;
	}
	if (atomic_load(&parallel->busy)) {
		log_line(LOG_ERROR, "par_close() of a par_parallel that is running a call: ignored");
		return;
	}
	(void)drive_instance(parallel, INSTANCE_GONE, NULL);
	loop_finish(&parallel->loop, NULL);
	par_free(parallel);
}

int32_t par_n_jobs(const par_parallel *parallel)
{
	return parallel->instance.answer.n_jobs;
}

const char *par_backend_name(const par_parallel *parallel)
{
	return parallel->instance.provider->name;
}

const char *par_backend_file(const par_parallel *parallel)
{
	return parallel->instance.provider->file;
}

int32_t par_effective_n_jobs(const char *backend, int32_t n_jobs, par_error *error)
{
	par_settings settings = {.size = sizeof(settings), .backend = backend, .n_jobs = PAR_SET(n_jobs)};
	par_parallel *parallel;
	int32_t code = create(&parallel, NULL, &settings, error), n = 0;

	if (code != PAR_OK)
		return 0;
	code = drive_instance(parallel, INSTANCE_MADE, error);
	if (code == PAR_OK)
		n = instance_effective_n_jobs(&parallel->instance);
	if (code == PAR_OK && n <= 0)
		error_set(error, PAR_EUNAVAIL, "%s has no active worker", parallel->instance.provider->name);
	par_close(parallel);
	return n > 0 ? n : 0;
}

/* --- calling --------------------------------------------------------------------------------- */

static int32_t refuse(par_error *error, int32_t code, const char *what, const char *remedy)
{
	error_set(error, code, "%s", what);
	error_remedy(error, "%s", remedy);
	return code;
}

static int32_t check_caller(const par_parallel *parallel, int blocking, par_error *error)
{
	if (parallel->pid != getpid())
		return refuse(error, PAR_EINVAL, "this par_parallel belongs to the parent process",
		              "open another one in the child");
	if (!pthread_equal(parallel->thread, pthread_self()))
		return refuse(error, PAR_EINVAL, "this par_parallel belongs to another thread",
		              "open one in each thread");
	if (blocking && !parallel->loop.is_own)
		return refuse(error, PAR_EINVAL, "this par_parallel lives on the caller's loop, "
		                                 "which a blocking call would stop",
		              "use par_start_map() or par_start_run()");
	if (!blocking && parallel->loop.is_own)
		return refuse(error, PAR_EINVAL, "this par_parallel has a loop of its own, "
		                                 "which nobody would run meanwhile",
		              "open it with par_open_on()");
	if (parallel->is_closing)
		return refuse(error, PAR_EINVAL, "this par_parallel is being closed", "open another one");
	if (atomic_load(&parallel->busy))
		return refuse(error, PAR_EBUSY, "This Parallel instance is already running !",
		              "call it when the call under way has returned, or open another one");
	return PAR_OK;
}

static int32_t check_fixed(const par_settings *settings, par_error *error)
{
	if (settings->backend == NULL && settings->options == NULL && !settings->n_jobs.set &&
	    settings->prefer == NULL && settings->require == NULL &&
	    !settings->inner_max_num_threads.set)
		return PAR_OK;
	return refuse(error, PAR_EINVAL,
	              "backend, options, n_jobs, prefer, require and inner_max_num_threads of an "
	              "open par_parallel are fixed",
	              "leave them out here, or call with NULL in place of the par_parallel");
}

/* Plan and begin; the par_parallel is busy from here to its end. */
static int32_t begin(par_parallel *parallel, const struct job *job, const par_settings *settings,
                     int blocking, par_error *error)
{
	par_settings call = {.size = sizeof(call)};
	int32_t code = check_caller(parallel, blocking, error);

	if (code == PAR_OK && settings != NULL)
		code = settings_check(&call, settings, error);
	if (code == PAR_OK && parallel->is_managed)
		code = check_fixed(&call, error);
	if (code == PAR_OK)
		code = settings_plan(&parallel->opened, &call, parallel->conf, &parallel->plan, error);
	if (code != PAR_OK)
		return code;
	atomic_store(&parallel->call.stopping, 0);
	atomic_store(&parallel->cancelled, 0);
	atomic_store(&parallel->woken, 0);
	atomic_store(&parallel->busy, 1);
	turn_begin(parallel, job);
	return PAR_OK;
}

static int32_t run_blocking(par_parallel *parallel, const struct job *job,
                            const par_settings *settings, par_error *error)
{
	int32_t code = begin(parallel, job, settings, 1, error);

	if (code != PAR_OK)
		return code;
	turn_drive(parallel);
	code = turn_conclude(parallel, error);
	atomic_store(&parallel->busy, 0);
	return code;
}

/* A call that brings its settings and no pool: one is opened for it alone. */
static int32_t run_unmanaged(const struct job *job, const par_settings *settings, par_error *error)
{
	par_parallel *parallel;
	int32_t code = par_open(&parallel, settings, error);

	if (code != PAR_OK)
		return code;
	parallel->is_managed = 0;
	code = run_blocking(parallel, job, NULL, error);
	par_close(parallel);
	return code;
}

static int32_t run(par_parallel *parallel, const struct job *job, const par_settings *settings,
                   par_error *error)
{
	return parallel != NULL ? run_blocking(parallel, job, settings, error)
	                        : run_unmanaged(job, settings, error);
}

static int32_t check_arrays(const struct job *job, par_error *error)
{
	const par_task *task = job->task;
	int32_t code = dispatcher_check_task(task, error);

	if (code != PAR_OK)
		return code;
	if (task->kind != PAR_TASK_TYPED) {
		error_set(error, PAR_EINVAL, "par_map cannot run the task \"%s\"", task->name);
		error_reason(error, "it takes bytes of any length, par_map has values of one size");
		error_remedy(error, "use par_run, or describe it with PAR_TASK");
		return PAR_EINVAL;
	}
	if (job->n > 0 && (job->in == NULL || (job->out == NULL && task->out_size > 0)))
		return refuse(error, PAR_EINVAL, "par_map has no array to read, or to write",
		              "pass in[] and out[] of n values each");
	if (job->n > SIZE_MAX / 2 / (task->in_size > task->out_size ? task->in_size : task->out_size))
		return refuse(error, PAR_EINVAL, "par_map has more values than memory can hold",
		              "check n");
	return PAR_OK;
}

static int32_t check_stream(const struct job *job, par_error *error)
{
	if (job->source == NULL)
		return refuse(error, PAR_EINVAL, "par_run has no source", "pass a par_source_fn");
	return job->task != NULL ? dispatcher_check_task(job->task, error) : PAR_OK;
}

int32_t par_map(par_parallel *parallel, const par_task *task, const void *in, void *out,
                uint64_t n, const par_settings *settings, par_error *error)
{
	struct job job = {.task = task, .in = in, .out = out, .n = n};
	int32_t code = check_arrays(&job, error);

	return code != PAR_OK ? code : run(parallel, &job, settings, error);
}

int32_t par_run(par_parallel *parallel, const par_task *task, par_source_fn source,
                par_sink_fn sink, void *user, const par_settings *settings, par_error *error)
{
	struct job job = {.task = task, .source = source, .sink = sink, .user = user};
	int32_t code = check_stream(&job, error);

	return code != PAR_OK ? code : run(parallel, &job, settings, error);
}

void par_cancel(par_parallel *parallel)
{
	if (parallel == NULL || !atomic_load(&parallel->busy))
		return;
	atomic_store(&parallel->cancelled, 1);
	call_stop(&parallel->call);
	loop_notify(&parallel->loop);
}

void par_wake(par_parallel *parallel)
{
	if (parallel == NULL || !atomic_load(&parallel->busy))
		return;
	atomic_store(&parallel->woken, 1);
	loop_notify(&parallel->loop);
}

/* --- on the caller's loop ---------------------------------------------------------------------- */

/* After so many turns in a row the caller's other handles have their turn. */
enum { TURNS_IN_A_ROW = 16 };

static void on_gone(void *arg)
{
	par_parallel *parallel = arg;
	void (*closed)(void *user) = parallel->closed;
	void *user = parallel->closed_user;

	par_free(parallel);
	if (closed != NULL)
		closed(user);
}

/* The handles keep the caller's uv_run() going only while there is something to wait for. */
static void hold_loop(par_parallel *parallel, int hold)
{
	uv_handle_t *async = (uv_handle_t *)&parallel->loop.async;
	uv_handle_t *timer = (uv_handle_t *)&parallel->loop.timer;

	if (hold) {
		uv_ref(async);
		uv_ref(timer);
	} else {
		uv_unref(async);
		uv_unref(timer);
	}
}

static int rests(par_parallel *parallel)
{
	(void)atomic_exchange_explicit(&parallel->call.hungry, 1, memory_order_acq_rel);
	if (!loop_rest(&parallel->loop, turn_deadline(parallel), turn_is_idle))
		return 1;
	(void)atomic_exchange_explicit(&parallel->call.hungry, 0, memory_order_acq_rel);
	return 0;
}

static void tell_ready(par_parallel *parallel, int32_t status, const par_error *error)
{
	par_done_fn ready = parallel->ready;

	parallel->ready = NULL;
	if (ready != NULL)
		ready(parallel->ready_user, status, error);
}

/* Bring the backend up when no call does; 1: it waits. */
static int rise_alone(par_parallel *parallel)
{
	par_error error = PAR_ERROR_INIT;
	int32_t code = instance_step(&parallel->instance, INSTANCE_UP, &error);

	if (code == PAR_PENDING)
		return 1;
	if (code == PAR_OK)
		code = turn_equip(parallel, &error);
	parallel->is_up = code == PAR_OK;
	if (code == PAR_OK || parallel->ready != NULL)
		tell_ready(parallel, code, &error);
	return 0;
}

/* The call itself may have found that the backend is up, or failed to be. */
static void tell_if_ready(par_parallel *parallel)
{
	if (parallel->is_closing || instance_is_pending(&parallel->instance))
		return;
	if (parallel->is_up || parallel->instance.status < 0)
		tell_ready(parallel, parallel->instance.status, &parallel->instance.error);
}

/* Bring the backend down; 1: and all the rest, which on_gone() will free. */
static int sink_alone(par_parallel *parallel)
{
	if (instance_step(&parallel->instance, INSTANCE_GONE, NULL) == PAR_PENDING)
		return 0;
	parallel->is_closing = 2;
	loop_finish(&parallel->loop, on_gone);
	return 1;
}

static void finish_started(par_parallel *parallel)
{
	par_error error = PAR_ERROR_INIT;
	par_done_fn done = parallel->done;
	void *user = parallel->done_user;
	int32_t status = turn_conclude(parallel, &error);

	atomic_store(&parallel->busy, 0);
	/* The backend may still be rising: the call was cancelled before it was up. */
	hold_loop(parallel, parallel->is_closing || instance_is_pending(&parallel->instance));
	/* It may start another call, or close. */
	if (done != NULL)
		done(user, status, &error);
}

/* Whatever there is to do, once; 1: the par_parallel is gone. */
static int serve(par_parallel *parallel)
{
	int is_over;

	loop_run_posts(&parallel->loop);
	if (!parallel->is_up && !parallel->is_closing && !rise_alone(parallel) &&
	    !atomic_load(&parallel->busy))
		hold_loop(parallel, 0);
	if (parallel->phase == PHASE_IDLE)
		return parallel->is_closing && sink_alone(parallel);
	is_over = turn_advance(parallel);
	tell_if_ready(parallel);
	if (is_over)
		finish_started(parallel);
	return 0;
}

static void on_loop(void *arg)
{
	par_parallel *parallel = arg;
	int turns = TURNS_IN_A_ROW;

	/* Our own loop is driven by who waits on it. */
	if (parallel->loop.is_own || parallel->is_closing == 2)
		return;
	do {
		if (serve(parallel) || rests(parallel))
			return;
	} while (--turns > 0);
	(void)uv_async_send(&parallel->loop.async);
}

int32_t par_open_on(par_parallel **out, struct uv_loop_s *loop, const par_settings *settings,
                    par_done_fn ready, void *user, par_error *error)
{
	par_parallel *parallel;
	int32_t code;

	*out = NULL;
	if (loop == NULL)
		return refuse(error, PAR_EINVAL, "par_open_on has no loop", "use par_open()");
	code = create(&parallel, loop, settings, error);
	if (code != PAR_OK)
		return code;
	parallel->is_managed = 1;
	parallel->ready = ready;
	parallel->ready_user = user;
	*out = parallel;
	/* The backend rises from the loop, so that ready is never called before this returns. */
	(void)uv_async_send(&parallel->loop.async);
	return PAR_OK;
}

static int32_t start(par_parallel *parallel, const struct job *job, const par_settings *settings,
                     par_done_fn done, void *user, par_error *error)
{
	int32_t code;

	if (parallel == NULL)
		return refuse(error, PAR_EINVAL, "there is no par_parallel to start the call on",
		              "open one with par_open_on()");
	code = begin(parallel, job, settings, 0, error);
	if (code != PAR_OK)
		return code;
	parallel->done = done;
	parallel->done_user = user;
	hold_loop(parallel, 1);
	(void)uv_async_send(&parallel->loop.async);
	return PAR_OK;
}

int32_t par_start_map(par_parallel *parallel, const par_task *task, const void *in, void *out,
                      uint64_t n, const par_settings *settings, par_done_fn done, void *user,
                      par_error *error)
{
	struct job job = {.task = task, .in = in, .out = out, .n = n};
	int32_t code = check_arrays(&job, error);

	return code != PAR_OK ? code : start(parallel, &job, settings, done, user, error);
}

int32_t par_start_run(par_parallel *parallel, const par_task *task, par_source_fn source,
                      par_sink_fn sink, const par_settings *settings, par_done_fn done, void *user,
                      par_error *error)
{
	struct job job = {.task = task, .source = source, .sink = sink, .user = user};
	int32_t code = check_stream(&job, error);

	return code != PAR_OK ? code : start(parallel, &job, settings, done, user, error);
}

void par_close_on(par_parallel *parallel, void (*closed)(void *user), void *user)
{
	if (parallel == NULL || parallel->pid != getpid() || parallel->is_closing)
		return;
	if (parallel->loop.is_own) {
		par_close(parallel);
		if (closed != NULL)
			closed(user);
		return;
	}
	parallel->closed = closed;
	parallel->closed_user = user;
	parallel->is_closing = 1;
	hold_loop(parallel, 1);
	par_cancel(parallel);
	(void)uv_async_send(&parallel->loop.async);
}

/* --- kept outcomes ------------------------------------------------------------------------------ */

par_outcome *par_keep(const par_outcome *outcome)
{
	size_t message = outcome->message != NULL ? strlen(outcome->message) + 1 : 0;
	size_t inside = outcome->n_bytes <= SLOT_INLINE ? (size_t)outcome->n_bytes : 0;
	par_outcome *kept = malloc(sizeof(*kept) + inside + message);
	char *room = (char *)(kept + 1);

	if (kept == NULL)
		return NULL;
	*kept = *outcome;
	kept->payload = NULL;
	kept->payload_bytes = 0;
	if (inside == outcome->n_bytes) {
		if (inside > 0)
			memcpy(room, outcome->bytes, inside);
		kept->bytes = room;
	} else {
		arena_hold(outcome->bytes);
	}
	if (message > 0)
		kept->message = memcpy(room + inside, outcome->message, message);
	return kept;
}

void par_release(par_outcome *kept)
{
	if (kept == NULL)
		return;
	if (kept->n_bytes > SLOT_INLINE)
		arena_release(kept->bytes);
	free(kept);
}
