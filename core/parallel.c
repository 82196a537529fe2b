#include "parallel.h"

#include "context.h"
#include "cpu.h"
#include "error.h"
#include "hints.h"
#include "log.h"
#include "nesting.h"
#include "scope.h"
#include "serve.h"
#include "watch.h"

#include <stdio.h>
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
                               par_error *error)
{
	const struct provider **provider = &parallel->provider;
	int32_t code = hints_choose(wish, &parallel->opened, verbose, provider, error);

	parallel->options = wish->options;
	return code == PAR_OK ? scope_check_inner(wish->inner_max_num_threads, error) : code;
}

static int32_t describe_wants(par_parallel *parallel, const struct plan *plan, par_error *error)
{
	const par_settings *opened = &parallel->opened;
	struct par_call *wants = &parallel->wants;
	int32_t code = settings_oversubscribe(opened, nesting_oversubscribe(), parallel->conf,
	                                      &wants->oversubscribe, error);

	if (code != PAR_OK)
		return code;
	wants->size = sizeof(*wants);
	nesting_describe(parallel->provider, wants);
	if (wants->around != NULL) {
		(void)snprintf(parallel->around, sizeof(parallel->around), "%s", wants->around);
		wants->around = parallel->around;
	}
	wants->verbose = plan->verbose > 50 ? (int32_t)(plan->verbose - 50) : 0;
	wants->may_block = parallel->loop.uv == NULL && !plan_has_deadline(plan);
	wants->require_sharedmem = opened->require != NULL;
	if (opened->prefer != NULL)
		wants->prefer_threads = strcmp(opened->prefer, "threads") == 0 ? 1 : -1;
	if (wants->core_share > 0 && wants->core_share < parallel->cores)
		parallel->cores = wants->core_share;
	return PAR_OK;
}

static int32_t plan_opening(par_parallel *parallel, struct wish *wish, par_error *error)
{
	struct plan plan;
	int32_t code;

	code = settings_plan(&parallel->opened, &parallel->opened, parallel->conf, &plan, error);
	if (code == PAR_OK)
		code = settings_close_timeout(&parallel->opened, parallel->conf,
		                              &parallel->close_timeout_ns, error);
	if (code == PAR_OK)
		code = choose_n_jobs(parallel, wish, error);
	if (code != PAR_OK)
		return code;
	parallel->cores = cpu_affinity();
	code = choose_provider(parallel, wish, plan.verbose, error);
	if (code == PAR_OK)
		code = describe_wants(parallel, &plan, error);
	if (code == PAR_OK && wish->inner_max_num_threads.set)
		parallel->wants.inner_max_num_threads = (int32_t)wish->inner_max_num_threads.value;
	return code;
}

int32_t parallel_new_engine(par_parallel *parallel, int may_block, par_error *error)
{
	const struct provider *provider = parallel->provider;
	const char *const *options = parallel->options;
	struct par_call wants = parallel->wants;
	struct engine *engine;
	int32_t code = PAR_OK;
	int stands_in = 0;

	/* On a caller's loop, or with a deadline, tasks may not run inside submit(). */
	if (!may_block && (provider->capabilities & PAR_RUNS_INLINE)) {
		stands_in = 1;
		wants.n_jobs = 1;
		options = NULL;
		code = registry_find("threading", &provider, error);
	}
	if (code != PAR_OK)
		return code;
	wants.may_block = may_block;
	engine = engine_create(&parallel->loop, provider, options, &wants, parallel->n_jobs_is_set || stands_in);
	if (engine == NULL)
		return error_memory(error, "cannot make a par_parallel");
	parallel->engine = engine;
	return PAR_OK;
}

/* Everything up to the first step of the backend. */
int32_t parallel_create(par_parallel **out, uv_loop_t *uv, const par_settings *settings,
                        par_error *error)
{
	struct wish wish;
	int32_t code = serve_guard(error);
	par_parallel *parallel = code == PAR_OK ? calloc(1, sizeof(*parallel)) : NULL;

	if (code != PAR_OK)
		return code;
	if (parallel == NULL)
		return error_memory(error, "cannot make a par_parallel");
	parallel->thread = pthread_self();
	parallel->pid = getpid();
	parallel->loop.uv = uv;
	parallel->conf = conf_get(error);
	if (parallel->conf != NULL)
		watch_begin(parallel->conf);
	if (parallel->conf != NULL)
		code = scope_settings(&parallel->opened, settings, &wish, parallel->conf, error);
	else
		code = error == NULL ? PAR_ECONFIG : error->code;
	if (code == PAR_OK)
		code = plan_opening(parallel, &wish, error);
	if (code == PAR_OK)
		code = parallel_new_engine(parallel, parallel->wants.may_block, error);
	if (code == PAR_OK)
		code = loop_init(&parallel->loop, uv, started_on_loop, parallel, error);
	if (code == PAR_OK)
		*out = parallel;
	else
		parallel_free(parallel);
	return code;
}

void parallel_free(par_parallel *parallel)
{
	if (parallel->engine != NULL)
		engine_free(parallel->engine);
	settings_finish(&parallel->opened);
	free(parallel);
}

static int rising_is_idle(void *parallel)
{
	return !instance_is_ready(&((par_parallel *)parallel)->engine->instance);
}

/* Drive the backend up on our own loop. */
static int32_t drive_up(par_parallel *parallel, enum instance_goal goal, par_error *error)
{
	struct engine *engine = parallel->engine;
	int32_t code;

	while ((code = engine_step(engine, goal, error)) == PAR_PENDING) {
		context_wait();
		loop_wait(&parallel->loop, 0, rising_is_idle);
		context_go_on();
		loop_run_posts(&parallel->loop);
	}
	if (code == PAR_OK && goal == INSTANCE_UP)
		code = engine_equip(engine, parallel->conf, error);
	engine->is_up = code == PAR_OK;
	return code;
}

/* What belongs to a call would be forgotten by the second one. */
static int32_t check_open(const par_settings *settings, par_error *error)
{
	if (settings == NULL || !PAR_HAS(settings, n_tasks) ||
	    (settings->statuses == NULL && !settings->n_tasks.set))
		return PAR_OK;
	return parallel_refuse(error, PAR_EINVAL, "statuses and n_tasks are for single calls",
	                       "give them to the call");
}

static int32_t open_own(par_parallel **out, const par_settings *settings, par_error *error)
{
	par_parallel *parallel = NULL;
	int32_t code;

	*out = NULL;
	code = parallel_create(&parallel, NULL, settings, error);
	if (code != PAR_OK)
		return code;
	code = drive_up(parallel, INSTANCE_UP, error);
	if (code != PAR_OK) {
		par_close(parallel);
		return code;
	}
	*out = parallel;
	return PAR_OK;
}

int32_t par_open(par_parallel **out, const par_settings *settings, par_error *error)
{
	int32_t code = check_open(settings, error);

	*out = NULL;
	if (code == PAR_OK)
		code = open_own(out, settings, error);
	if (code == PAR_OK)
		(*out)->is_managed = 1;
	return code;
}

void par_close(par_parallel *parallel)
{
	/* In a forked child its threads and its loop are not there: the memory is all there is. */
	if (parallel == NULL || parallel->pid != getpid())
		return;
	if (!parallel->loop.is_own)
		par_close_on(parallel, NULL, NULL);
	else if (atomic_load(&parallel->busy))
		log_line(LOG_ERROR, "par_close() of a par_parallel that is running a call: ignored");
	else
		closing_own(parallel);
}

int32_t par_n_jobs(const par_parallel *parallel)
{
	return parallel->engine->instance.answer.n_jobs;
}

const char *par_backend_name(const par_parallel *parallel)
{
	return parallel->engine->instance.provider->name;
}

const char *par_backend_file(const par_parallel *parallel)
{
	return parallel->engine->instance.provider->file;
}

int32_t par_effective_n_jobs(const char *backend, int32_t n_jobs, par_error *error)
{
	par_settings settings = {.size = sizeof(settings), .backend = backend, .n_jobs = PAR_SET(n_jobs)};
	par_parallel *parallel;
	int32_t code = parallel_create(&parallel, NULL, &settings, error), n = 0;

	if (code != PAR_OK)
		return 0;
	code = drive_up(parallel, INSTANCE_MADE, error);
	if (code == PAR_OK)
		n = instance_effective_n_jobs(&parallel->engine->instance);
	if (code == PAR_OK && n <= 0)
		error_set(error, PAR_EUNAVAIL, "%s has no active worker", parallel->engine->instance.provider->name);
	par_close(parallel);
	return n > 0 ? n : 0;
}

int32_t par_cpu_count(int32_t only_physical_cores)
{
	return only_physical_cores ? cpu_physical_count() : cpu_count();
}

/* --- calling --------------------------------------------------------------------------------- */

int32_t parallel_refuse(par_error *error, int32_t code, const char *what, const char *remedy)
{
	error_set(error, code, "%s", what);
	error_remedy(error, "%s", remedy);
	return code;
}

static int32_t check_caller(const par_parallel *parallel, int blocking, par_error *error)
{
	if (parallel->pid != getpid())
		return parallel_refuse(error, PAR_EINVAL, "this par_parallel belongs to the parent process",
		              "open another one in the child");
	if (!pthread_equal(parallel->thread, pthread_self()))
		return parallel_refuse(error, PAR_EINVAL, "this par_parallel belongs to another thread",
		              "open one in each thread");
	if (blocking && !parallel->loop.is_own)
		return parallel_refuse(error, PAR_EINVAL, "this par_parallel lives on the caller's loop, "
		                                 "which a blocking call would stop",
		              "use par_start_map() or par_start_run()");
	if (!blocking && parallel->loop.is_own)
		return parallel_refuse(error, PAR_EINVAL, "this par_parallel has a loop of its own, "
		                                 "which nobody would run meanwhile",
		              "open it with par_open_on()");
	if (parallel->is_closing)
		return parallel_refuse(error, PAR_EINVAL, "this par_parallel is being closed", "open another one");
	if (atomic_load(&parallel->busy))
		return parallel_refuse(error, PAR_EBUSY, "This Parallel instance is already running !",
		              "call it when the call under way has returned, or open another one");
	return PAR_OK;
}

static int32_t check_fixed(const par_settings *settings, par_error *error)
{
	if (settings->backend == NULL && settings->options == NULL && !settings->n_jobs.set &&
	    settings->prefer == NULL && settings->require == NULL &&
	    !settings->inner_max_num_threads.set && !settings->close_timeout.set &&
	    !settings->oversubscribe.set)
		return PAR_OK;
	return parallel_refuse(error, PAR_EINVAL,
	              "backend, options, n_jobs, prefer, require, inner_max_num_threads, "
	              "close_timeout and oversubscribe of an open par_parallel are fixed",
	              "leave them out here, or call with NULL in place of the par_parallel");
}

/* Would tasks run inside submit(), where no deadline can be kept? */
static int is_inline(const struct engine *engine)
{
	return engine->is_up && instance_can(&engine->instance, PAR_RUNS_INLINE);
}

static int engine_fits(const par_parallel *parallel, int may_block)
{
	const struct engine *engine = parallel->engine;

	/* One that was told not to, and does so nevertheless, will not do better. */
	if (engine->is_up)
		return may_block ? !engine->stands_in
		                 : !is_inline(engine) || !engine->instance.wants.may_block;
	return engine->instance.status == PAR_OK &&
	       (!parallel->loop.is_own || engine->instance.wants.may_block == may_block);
}

/* The engine that this call needs: the one that is there, unless it runs tasks inside
 * submit() and a deadline is to be kept, or only stands in for one that does. */
static int32_t choose_engine(par_parallel *parallel, par_error *error)
{
	struct engine *engine = parallel->engine;
	int may_block = parallel->loop.is_own && !plan_has_deadline(&parallel->plan);

	if (!engine_fits(parallel, may_block)) {
		int32_t code = parallel_new_engine(parallel, may_block, error);

		if (code != PAR_OK)
			return code;
		parallel->engine->stands_in = is_inline(engine);
		if (parallel->loop.is_own)
			closing_replace(parallel, engine);
		else
			closing_add(parallel, engine);
	}
	if (parallel->left != NULL)
		closing_sweep(parallel);
	/* On the caller's loop the call brings it up, and so it does where its time is counted. */
	if (!parallel->loop.is_own || parallel->engine->is_up || parallel->plan.call_timeout_ns > 0)
		return PAR_OK;
	return drive_up(parallel, INSTANCE_UP, error);
}

/* Of a call whose backend does not come up as well. */
static void reset_statuses(const par_parallel *parallel, const struct job *job)
{
	int32_t *statuses = job->source == NULL ? parallel->plan.statuses : NULL;

	for (uint64_t i = 0; statuses != NULL && i < job->n; i++)
		statuses[i] = PAR_EABORTED;
}

int32_t parallel_begin(par_parallel *parallel, const struct job *job, const par_settings *settings,
                       int blocking, par_error *error)
{
	par_settings call = {.size = sizeof(call)};
	int32_t code = check_caller(parallel, blocking, error);

	context_nest();
	if (code == PAR_OK && settings != NULL)
		code = settings_check(&call, settings, error);
	if (code == PAR_OK && parallel->is_managed)
		code = check_fixed(&call, error);
	/* A pool for this call alone was opened with its settings. */
	if (code == PAR_OK && !parallel->is_managed)
		call = parallel->opened;
	if (code == PAR_OK)
		code = settings_plan(&parallel->opened, &call, parallel->conf, &parallel->plan, error);
	if (code != PAR_OK)
		return code;
	reset_statuses(parallel, job);
	code = choose_engine(parallel, error);
	if (code != PAR_OK)
		return code;
	atomic_store(&parallel->engine->call.stopping, 0);
	atomic_store(&parallel->running, &parallel->engine->call);
	atomic_store(&parallel->cancelled, 0);
	atomic_store(&parallel->woken, 0);
	atomic_store(&parallel->busy, 1);
	turn_begin(parallel, job);
	return PAR_OK;
}

static int32_t run_blocking(par_parallel *parallel, const struct job *job,
                            const par_settings *settings, par_error *error)
{
	int32_t code = parallel_begin(parallel, job, settings, 1, error);

	if (code != PAR_OK)
		return code;
	turn_drive(parallel);
	code = turn_conclude(parallel, error);
	atomic_store(&parallel->busy, 0);
	return code;
}

int32_t parallel_open_for_call(par_parallel **parallel, const par_settings *settings,
                               par_error *error)
{
	*parallel = NULL;
	return parallel_create(parallel, NULL, settings, error);
}

static int32_t run_unmanaged(const struct job *job, const par_settings *settings, par_error *error)
{
	par_parallel *parallel;
	int32_t code = parallel_open_for_call(&parallel, settings, error);

	if (code != PAR_OK)
		return code;
	code = run_blocking(parallel, job, NULL, error);
	par_close(parallel);
	return code;
}

void parallel_note(const par_error *error)
{
	char text[sizeof(par_error)];
	size_t used;

	if (context_current()->task == NULL)
		return;
	par_error_text(error, 0, text, sizeof(text));
	used = strlen(text);
	if (PAR_HAS(error, trace) && error->task >= 0 && error->trace[0] != '\0')
		(void)snprintf(text + used, sizeof(text) - used, "\n%s", error->trace);
	context_note(text);
}

static int32_t run(par_parallel *parallel, const struct job *job, const par_settings *settings,
                   par_error *error)
{
	par_error own = PAR_ERROR_INIT;
	int32_t code;

	if (error == NULL)
		error = &own;
	code = parallel != NULL ? run_blocking(parallel, job, settings, error)
	                        : run_unmanaged(job, settings, error);
	if (code < 0)
		parallel_note(error);
	return code;
}

int32_t parallel_check_arrays(const struct job *job, par_error *error)
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
		return parallel_refuse(error, PAR_EINVAL, "par_map has no array to read, or to write",
		              "pass in[] and out[] of n values each");
	if (job->n > SIZE_MAX / 2 / (task->in_size > task->out_size ? task->in_size : task->out_size))
		return parallel_refuse(error, PAR_EINVAL, "par_map has more values than memory can hold",
		              "check n");
	return PAR_OK;
}

int32_t parallel_check_stream(const struct job *job, par_error *error)
{
	if (job->source == NULL)
		return parallel_refuse(error, PAR_EINVAL, "par_run has no source", "pass a par_source_fn");
	return job->task != NULL ? dispatcher_check_task(job->task, error) : PAR_OK;
}

int32_t par_map(par_parallel *parallel, const par_task *task, const void *in, void *out,
                uint64_t n, const par_settings *settings, par_error *error)
{
	struct job job = {.task = task, .in = in, .out = out, .n = n};
	int32_t code = parallel_check_arrays(&job, error);

	return code != PAR_OK ? code : run(parallel, &job, settings, error);
}

int32_t par_run(par_parallel *parallel, const par_task *task, par_source_fn source,
                par_sink_fn sink, void *user, const par_settings *settings, par_error *error)
{
	struct job job = {.task = task, .source = source, .sink = sink, .user = user};
	int32_t code = parallel_check_stream(&job, error);

	return code != PAR_OK ? code : run(parallel, &job, settings, error);
}

void par_cancel(par_parallel *parallel)
{
	struct call *running;

	if (parallel == NULL)
		return;
	(void)atomic_fetch_add(&parallel->cancelling, 1);
	running = atomic_load(&parallel->running);
	if (running != NULL && atomic_load(&parallel->busy)) {
		atomic_store(&parallel->cancelled, 1);
		call_stop(running);
		loop_notify(&parallel->loop);
	}
	(void)atomic_fetch_sub(&parallel->cancelling, 1);
}

void par_wake(par_parallel *parallel)
{
	if (parallel == NULL || !atomic_load(&parallel->busy))
		return;
	atomic_store(&parallel->woken, 1);
	loop_notify(&parallel->loop);
}
