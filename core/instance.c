#include "instance.h"

#include "context.h"
#include "cpu.h"
#include "error.h"
#include "log.h"
#include "nesting.h"
#include "options.h"
#include "paths.h"
#include "worker_env.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FALLBACKS = 4 };

/* Each costs the core a few hundred bytes, whether it ever works or not. */
enum { MOST_WORKERS = 1 << 20 };

static struct instance *instance_of(const par_host *host)
{
	return (struct instance *)(uintptr_t)host;
}

static struct loop *loop_of(struct instance *instance)
{
	return atomic_load_explicit(&instance->loop, memory_order_relaxed);
}

/* Whoever is about to queue something says so first: as soon as it is queued the loop may go
 * on and end the instance. */
static void begin_notice(struct instance *instance)
{
	(void)atomic_fetch_add(&instance->notifying, 1);
}

static void end_notice(struct instance *instance, int queued)
{
	if (queued)
		loop_notify(atomic_load(&instance->loop));
	(void)atomic_fetch_sub(&instance->notifying, 1);
}

/* What is left of it is a system call. */
static void await_notices(struct instance *instance)
{
	while (atomic_load(&instance->notifying) > 0)
		sched_yield();
}

void instance_notify(struct instance *instance)
{
	begin_notice(instance);
	end_notice(instance, 1);
}

void instance_move(struct instance *instance, struct loop *loop)
{
	atomic_store(&instance->loop, loop);
	await_notices(instance);
}

/* --- the host table ----------------------------------------------------------------------- */

static void host_log(const par_host *host, int32_t level, const char *line)
{
	log_line(level, "%s: %s", instance_of(host)->provider->name, line);
}

/* A batch that runs, as its worker is told of. */
struct running {
	struct instance *instance;
	par_batch handle;
};

static void tell_waits(void *arg, int32_t waits)
{
	const struct running *running = arg;

	running->instance->provider->ops.batch_waits(running->instance->backend, running->handle, waits);
}

/* Whoever does not ask leaves the thread to whom it works for, as one that runs inline must. */
static void run_employed(struct instance *instance, struct batch *batch, par_batch handle,
                         struct ticket_report *report)
{
	struct running running = {instance, handle};
	struct context_employer before;

	if (instance->provider->ops.batch_waits == NULL) {
		ticket_run(instance->call, batch->quota, 0, report);
		return;
	}
	before = context_employ((struct context_employer){.tell = tell_waits, .arg = &running});
	ticket_run(instance->call, batch->quota, 0, report);
	(void)context_employ(before);
}

static int32_t host_run(const par_host *host, par_batch handle)
{
	struct instance *instance = instance_of(host);
	struct batch *batch;
	struct ticket_report report;

	if (instance->has_remote) {
		log_line(LOG_WARNING, "%s: run() by a backend that does not share memory",
		         instance->provider->name);
		return PAR_EINVAL;
	}
	batch = batch_begin(&instance->batches, handle);
	if (batch == NULL) {
		log_line(LOG_WARNING, "%s: run() of a batch that is not out, or runs already",
		         instance->provider->name);
		return PAR_EINVAL;
	}
	run_employed(instance, batch, handle, &report);
	batch->ran = report.ran;
	batch->ran_ns = report.ns;
	begin_notice(instance);
	end_notice(instance, batch_end(&instance->batches, batch));
	return PAR_OK;
}

static void host_done(const par_host *host, par_batch handle, int32_t status, const par_how *how)
{
	struct instance *instance = instance_of(host);
	int done;

	begin_notice(instance);
	done = batch_complete(&instance->batches, handle, status, how);
	if (done <= 0)
		log_line(done < 0 ? LOG_DEBUG : LOG_WARNING, "%s: done() of a batch that %s",
		         instance->provider->name, done < 0 ? "is not out" : "still runs");
	end_notice(instance, done > 0);
}

static int32_t host_stopping(const par_host *host, par_batch handle)
{
	(void)handle;
	return call_is_stopping(instance_of(host)->call);
}

static int32_t host_post(const par_host *host, void (*fn)(void *arg), void *arg)
{
	struct instance *instance = instance_of(host);
	int32_t status;

	(void)atomic_fetch_add(&instance->notifying, 1);
	status = loop_post(atomic_load(&instance->loop), fn, arg);
	(void)atomic_fetch_sub(&instance->notifying, 1);
	return status;
}

static void host_ready(const par_host *host, int32_t status, const par_error *error)
{
	struct instance *instance = instance_of(host);

	instance->ready_status = status;
	instance->ready_error = (par_error)PAR_ERROR_INIT;
	if (error != NULL)
		error_copy(&instance->ready_error, error);
	begin_notice(instance);
	atomic_store_explicit(&instance->ready, 1, memory_order_release);
	end_notice(instance, 1);
}

static void host_capacity(const par_host *host, int32_t workers, int32_t batches)
{
	struct instance *instance = instance_of(host);

	begin_notice(instance);
	/* Nobody holds a batch where nobody works. */
	atomic_store_explicit(&instance->holds, batches > 0 && workers > 0 ? batches : workers,
	                      memory_order_relaxed);
	atomic_store_explicit(&instance->workers, workers, memory_order_release);
	end_notice(instance, 1);
}

static int32_t host_cores(const par_host *host)
{
	int32_t share = instance_of(host)->wants.core_share;

	return share > 0 ? share : cpu_count();
}

static int32_t fd_watch(const par_host *host, int32_t fd, int32_t events,
                        void (*on_ready)(void *arg, int32_t events, int32_t error), void *arg,
                        par_watch **watch)
{
	return loop_watch(loop_of(instance_of(host)), fd, events, on_ready, arg, watch);
}

static int32_t timer_start(const par_host *host, int64_t after_ns, int64_t every_ns,
                           void (*on_time)(void *arg), void *arg, par_watch **watch)
{
	return loop_start_timer(loop_of(instance_of(host)), after_ns, every_ns, on_time, arg, watch);
}

/* Calls inside tasks name backends as those outside do, whatever file was chosen here. */
static char **put_conf(char **env)
{
	const char *file = conf_file();
	char *entry;

	if (asprintf(&entry, PATHS_CONF_VARIABLE "=%s", file != NULL ? file : PATHS_NO_CONF) < 0) {
		worker_env_free(env);
		return NULL;
	}
	env = worker_env_put(env, entry);
	free(entry);
	return env;
}

static char **env_make(const par_host *host, int32_t n_workers)
{
	struct instance *instance = instance_of(host);

	/* Quotas, which take a while to read, can only make fewer of what is one each anyway. */
	int cores = cpu_affinity() <= n_workers ? n_workers : host_cores(host);
	char **env = worker_env_make(n_workers, instance->wants.inner_max_num_threads, cores,
	                             instance->wants.core_share > 0);

	return put_conf(env);
}

static const void *host_extension(const par_host *host, const char *id)
{
	static const par_ext_fd fd = {sizeof(fd), 0, fd_watch, loop_stop_watch};
	static const par_ext_timer timer = {sizeof(timer), 0, timer_start, loop_stop_watch};
	static const par_ext_worker_env env = {sizeof(env), 0, env_make, worker_env_free};

	(void)host;
	if (strcmp(id, PAR_EXT_FD) == 0)
		return &fd;
	if (strcmp(id, PAR_EXT_TIMER) == 0)
		return &timer;
	if (strcmp(id, PAR_EXT_WORKER_ENV) == 0)
		return &env;
	if (strcmp(id, PAR_EXT_CHANNEL) == 0)
		return instance_channels();
	if (strcmp(id, PAR_EXT_ENCODE) == 0)
		return instance_encoding();
	return NULL;
}

static const par_host host_table = {
	.size = sizeof(par_host),
	.abi = PAR_ABI,
	.version = PAR_VERSION_STRING,
	.log = host_log,
	.run = host_run,
	.done = host_done,
	.stopping = host_stopping,
	.post = host_post,
	.ready = host_ready,
	.capacity = host_capacity,
	.cores = host_cores,
	.option_int = options_int,
	.option_text = options_text,
	.option_is_set = options_is_set,
	.extension = host_extension,
};

/* --- its life ------------------------------------------------------------------------------- */

void instance_init(struct instance *instance, struct loop *loop, struct call *call,
                   const struct provider *provider, const char *const *settings,
                   const struct par_call *wants)
{
	memset(instance, 0, sizeof(*instance));
	instance->host = host_table;
	atomic_init(&instance->loop, loop);
	instance->call = call;
	instance->provider = provider;
	instance->settings = settings;
	instance->wants = *wants;
	instance->most = INT32_MAX;
	instance->unrun = (par_error)PAR_ERROR_INIT;
	atomic_init(&instance->workers, -1);
}

static void describe(struct instance *instance, const char *verb)
{
	if (instance->error.what[0] == '\0')
		error_prefix(&instance->error, "cannot %s backend \"%s\"", verb, instance->provider->name);
	if (instance->error.file[0] == '\0' && instance->provider->file != NULL)
		error_file(&instance->error, "%s", instance->provider->file);
	instance->error.code = instance->status;
}

static int32_t failed(struct instance *instance, int32_t status, const char *verb)
{
	instance->status = status < 0 ? status : PAR_EFAILED;
	describe(instance, verb);
	return instance->status;
}

/* It said what is neither PAR_OK, nor PAR_PENDING, nor an error. */
static int32_t meaningless(struct instance *instance, int32_t status)
{
	error_reason(&instance->error, "it answered %d, which means nothing here", status);
	return PAR_EFAILED;
}

/* What a function that may answer PAR_PENDING said, now or by host->ready(). */
static int32_t awaited(struct instance *instance)
{
	if (!instance_is_ready(instance))
		return PAR_PENDING;
	if (instance->ready_status < 0)
		instance->error = instance->ready_error;
	return instance->ready_status <= 0 ? instance->ready_status
	                                   : meaningless(instance, instance->ready_status);
}

static void expect(struct instance *instance)
{
	instance->error = (par_error)PAR_ERROR_INIT;
	atomic_store_explicit(&instance->ready, 0, memory_order_relaxed);
}

static int32_t create(struct instance *instance)
{
	int32_t status;

	expect(instance);
	status = registry_options(instance->provider, instance->settings, &instance->options,
	                          &instance->error);
	if (status < 0)
		return status;
	status = instance->provider->ops.create(&instance->host, instance->options, instance->wants.level,
	                                        instance->wants.inner_max_num_threads,
	                                        &instance->backend, &instance->error);
	if (status > 0 && status != PAR_PENDING)
		return meaningless(instance, status);
	if (status >= 0 && instance->backend == NULL) {
		error_reason(&instance->error, "it made no instance, and did not say why");
		return PAR_EFAILED;
	}
	return status;
}

/* A backend may have another idea of how many there are. */
static int32_t within_share(const struct instance *instance, int32_t n_jobs)
{
	int32_t most = nesting_most(instance->provider, &instance->wants);

	return n_jobs < most ? n_jobs : most;
}

int32_t instance_effective_n_jobs(struct instance *instance)
{
	const par_backend_ops *ops = &instance->provider->ops;
	int32_t n_jobs;

	if (!instance->n_jobs_is_set && ops->default_n_jobs != NULL)
		instance->wants.n_jobs = ops->default_n_jobs(instance->backend);
	if (instance->wants.n_jobs == 0)
		instance->wants.n_jobs = 1;
	n_jobs = nesting_n_jobs(instance->provider, &instance->wants);
	return within_share(instance, ops->effective_n_jobs(instance->backend, n_jobs));
}

static int32_t configure(struct instance *instance)
{
	const par_backend_ops *ops = &instance->provider->ops;

	expect(instance);
	instance->wants.options = instance->options;
	instance->answer = (par_answer){
		.size = sizeof(par_answer),
		.n_jobs = instance_effective_n_jobs(instance),
		.capabilities = instance->provider->capabilities,
	};
	return ops->configure == NULL ? PAR_OK
	                              : ops->configure(instance->backend, &instance->wants,
	                                               &instance->answer, &instance->error);
}

static int32_t no_worker(struct instance *instance)
{
	error_set(&instance->error, PAR_EUNAVAIL, "%s has no active worker", instance->provider->name);
	error_remedy(&instance->error, "see `parloop show %s` for its options", instance->provider->name);
	return PAR_EUNAVAIL;
}

static int32_t too_many(struct instance *instance)
{
	error_set(&instance->error, PAR_EINVAL, "cannot use backend \"%s\"", instance->provider->name);
	error_reason(&instance->error, "it would have %d workers, this parloop can have %d",
	             instance->answer.n_jobs, MOST_WORKERS);
	error_remedy(&instance->error, "ask for fewer n_jobs");
	return PAR_EINVAL;
}

/* The answer to configure() is untrusted: make it hold together, and make room for what
 * it says. */
static int32_t accept_answer(struct instance *instance)
{
	par_answer *answer = &instance->answer;
	uint32_t places;
	int32_t status;

	answer->capabilities &= instance->provider->capabilities;
	if (answer->fallback != NULL)
		return PAR_OK;
	if (answer->n_jobs <= 0)
		return no_worker(instance);
	if (answer->n_jobs > MOST_WORKERS)
		return too_many(instance);
	status = nesting_check(instance->provider, (answer->capabilities & PAR_RUNS_INLINE) != 0,
	                       &instance->error);
	if (status != PAR_OK)
		return status;
	if (answer->n_jobs > within_share(instance, answer->n_jobs))
		answer->n_jobs = answer->holds = within_share(instance, answer->n_jobs);
	if (answer->holds > MOST_WORKERS)
		answer->holds = MOST_WORKERS;
	places = answer->holds > answer->n_jobs ? (uint32_t)answer->holds : (uint32_t)answer->n_jobs;
	if (batch_table_init(&instance->batches, places) < 0)
		return error_memory(&instance->error, "cannot keep track of batches");
	instance->has_batches = 1;
	if (!instance_can(instance, PAR_SHARES_MEMORY)) {
		if (remote_init(&instance->remote, instance->call, places,
		                instance_can(instance, PAR_SHIPS_MODULES)) < 0)
			return error_memory(&instance->error, "cannot keep track of batches");
		instance->has_remote = 1;
	}
	if (instance->provider->ops.retrieve_result != NULL) {
		instance->retriever = retriever_create(&instance->provider->ops, instance->backend,
		                                       &instance->host);
		if (instance->retriever == NULL)
			return error_memory(&instance->error, "cannot start the thread that fetches results");
	}
	return PAR_OK;
}

static int32_t terminate(struct instance *instance)
{
	par_error ignored = PAR_ERROR_INIT;

	retriever_destroy(instance->retriever);
	instance->retriever = NULL;
	atomic_store_explicit(&instance->ready, 0, memory_order_relaxed);
	if (instance->provider->ops.terminate == NULL)
		return PAR_OK;
	return instance->provider->ops.terminate(instance->backend, &ignored);
}

static void destroy(struct instance *instance)
{
	while (loop_has_posts(loop_of(instance)))
		loop_run_posts(loop_of(instance));
	if (instance->backend != NULL)
		instance->provider->ops.destroy(instance->backend);
	await_notices(instance);
	instance->backend = NULL;
	options_destroy(instance->options);
	instance->options = NULL;
	if (instance->has_remote)
		remote_finish(&instance->remote);
	if (instance->has_batches)
		batch_table_finish(&instance->batches);
	instance->has_remote = instance->has_batches = 0;
	atomic_store_explicit(&instance->workers, -1, memory_order_relaxed);
	instance->state = INSTANCE_NONE;
}

static int32_t step_down(struct instance *instance)
{
	switch (instance->state) {
	case INSTANCE_NONE:
		return PAR_OK;
	case INSTANCE_CREATING:
		if (!instance_is_ready(instance))
			return PAR_PENDING;
		destroy(instance);
		return PAR_OK;
	case INSTANCE_CREATED:
		/* Never configured: there is nothing to terminate. */
		destroy(instance);
		return PAR_OK;
	case INSTANCE_TERMINATING:
		if (!instance_is_ready(instance))
			return PAR_PENDING;
		destroy(instance);
		return PAR_OK;
	case INSTANCE_CONFIGURING:
		if (!instance_is_ready(instance))
			return PAR_PENDING;
		break;
	case INSTANCE_CONFIGURED:
		break;
	}
	if (terminate(instance) == PAR_PENDING) {
		instance->state = INSTANCE_TERMINATING;
		return step_down(instance);
	}
	destroy(instance);
	return PAR_OK;
}

/* joblib's FallbackToBackend: the backend names another that suits the call better. */
static int32_t fall_back(struct instance *instance)
{
	int32_t status;

	if (++instance->fallbacks > MOST_FALLBACKS) {
		error_set(&instance->error, PAR_EUNAVAIL, "backends fall back on one another in a circle");
		return PAR_EUNAVAIL;
	}
	status = registry_find(instance->answer.fallback, &instance->next, &instance->error);
	return status < 0 ? status : step_down(instance);
}

/* The one that named another is gone. */
static void hand_over(struct instance *instance)
{
	instance->provider = instance->next;
	instance->settings = NULL;
	instance->wants.is_nested |= instance->next->base != NULL;
}

static int32_t step_up(struct instance *instance, enum instance_goal goal)
{
	int32_t status;

	for (;;) {
		switch (instance->state) {
		case INSTANCE_NONE:
			status = create(instance);
			instance->state = INSTANCE_CREATING;
			if (status == PAR_PENDING)
				break;
			/* One that failed at once left nothing behind, whatever it set. */
			if (status < 0)
				instance->backend = NULL;
			if (status < 0)
				return failed(instance, status, "create");
			instance->state = INSTANCE_CREATED;
			continue;
		case INSTANCE_CREATING:
			status = awaited(instance);
			if (status == PAR_PENDING)
				return status;
			if (status < 0)
				return failed(instance, status, "create");
			instance->state = INSTANCE_CREATED;
			continue;
		case INSTANCE_CREATED:
			if (goal == INSTANCE_MADE)
				return PAR_OK;
			status = configure(instance);
			instance->state = INSTANCE_CONFIGURING;
			if (status != PAR_PENDING) {
				instance->ready_status = status;
				instance->ready_error = instance->error;
				atomic_store_explicit(&instance->ready, 1, memory_order_relaxed);
			}
			break;
		case INSTANCE_CONFIGURING:
			status = awaited(instance);
			if (status == PAR_PENDING)
				return status;
			if (status == PAR_OK)
				status = accept_answer(instance);
			if (status < 0)
				return failed(instance, status, "configure");
			if (instance->answer.fallback != NULL) {
				status = fall_back(instance);
				if (status < 0)
					return failed(instance, status, "configure");
				if (status == PAR_PENDING)
					return status;
				hand_over(instance);
				continue;
			}
			instance->state = INSTANCE_CONFIGURED;
			continue;
		case INSTANCE_CONFIGURED:
			return PAR_OK;
		case INSTANCE_TERMINATING:
			status = step_down(instance);
			if (status == PAR_PENDING)
				return status;
			hand_over(instance);
			continue;
		}
	}
}

int32_t instance_step(struct instance *instance, enum instance_goal goal, par_error *error)
{
	int32_t status;

	if (goal != INSTANCE_GONE && instance->status == PAR_OK) {
		status = step_up(instance, goal);
		if (status >= 0)
			return status;
		/* It answered, so it does not wait for anything. */
		atomic_store_explicit(&instance->ready, 1, memory_order_relaxed);
	}
	status = step_down(instance);
	if (status == PAR_PENDING || goal == INSTANCE_GONE)
		return status;
	if (error != NULL)
		error_copy(error, &instance->error);
	return instance->status;
}

/* --- batches ---------------------------------------------------------------------------------- */

void instance_limit(struct instance *instance, int32_t most)
{
	instance->most = most < instance->answer.n_jobs ? most : INT32_MAX;
}

int32_t instance_n_jobs(const struct instance *instance)
{
	int32_t n_jobs = instance->answer.n_jobs;

	return n_jobs < instance->most ? n_jobs : instance->most;
}

uint32_t instance_holds(const struct instance *instance)
{
	int32_t workers = atomic_load_explicit(&instance->workers, memory_order_acquire);
	int32_t holds = instance->answer.holds > 0 ? instance->answer.holds : instance->answer.n_jobs;

	if (workers >= 0)
		holds = atomic_load_explicit(&instance->holds, memory_order_relaxed);
	holds = holds < instance->most ? holds : instance->most;
	if (instance_can(instance, PAR_RUNS_INLINE))
		holds = holds > 1 ? 1 : holds;
	return (uint32_t)holds < instance->batches.n_places ? (uint32_t)holds : instance->batches.n_places;
}

/* Lend it to the backend. */
static int32_t submit(struct instance *instance, struct batch *batch, par_error *error)
{
	par_batch handle = batch_handle(&instance->batches, batch);
	int32_t status = instance->provider->ops.submit(instance->backend, handle, &batch->future, error);

	if (status == PAR_OK) {
		if (instance->retriever != NULL)
			retriever_add(instance->retriever, handle, batch->future);
		return PAR_OK;
	}
	if (error != NULL && error->what[0] == '\0')
		error_prefix(error, "backend \"%s\" cannot take a batch", instance->provider->name);
	return status < 0 ? status : PAR_EFAILED;
}

static struct batch *open_batch(struct instance *instance, uint64_t quota, par_error *error)
{
	struct batch *batch;

	if (instance->retriever != NULL && retriever_reserve(instance->retriever) < 0) {
		error_memory(error, "cannot send a batch");
		return NULL;
	}
	batch = batch_open(&instance->batches);
	if (batch == NULL)
		error_set(error, PAR_EINVAL, "more batches than the backend holds");
	else
		batch->quota = quota;
	return batch;
}

int32_t instance_submit(struct instance *instance, uint64_t quota, par_error *error)
{
	struct batch *batch = open_batch(instance, quota, error);
	int32_t status;

	if (batch == NULL)
		return error->code;
	status = submit(instance, batch, error);
	if (status < 0)
		batch_withdraw(&instance->batches, batch);
	return status;
}

static uint32_t place_of(const struct instance *instance, const struct batch *batch)
{
	return (uint32_t)(batch - instance->batches.places);
}

int32_t instance_send(struct instance *instance, uint64_t most, int is_fixed, par_error *error)
{
	struct batch *batch = open_batch(instance, most, error);
	int32_t status;

	if (batch == NULL)
		return error->code;
	batch->quota = remote_claim(&instance->remote, place_of(instance, batch), most, is_fixed);
	status = batch->quota > 0 ? submit(instance, batch, error) : PAR_PENDING;
	if (status < 0)
		remote_unclaim(&instance->remote, place_of(instance, batch));
	if (status != PAR_OK)
		batch_withdraw(&instance->batches, batch);
	return status;
}

int instance_poll(struct instance *instance, int32_t sleeps)
{
	const par_backend_ops *ops = &instance->provider->ops;

	return ops->poll != NULL && instance->batches.n_out > 0 &&
	       ops->poll(instance->backend, sleeps) > 0;
}

int64_t instance_expire(struct instance *instance, int64_t now_ns)
{
	const par_backend_ops *ops = &instance->provider->ops;

	for (uint32_t i = 0; i < instance->batches.n_places; i++) {
		struct batch *batch = &instance->batches.places[i];
		par_batch handle = batch_handle(&instance->batches, batch);

		/* What was given back, and only waits to be looked at, is the plugin's no more. */
		if (remote_is_late(&instance->remote, i, now_ns) && ops->kill != NULL &&
		    batch_find(&instance->batches, handle) != NULL &&
		    ops->kill(instance->backend, handle, batch->future) == PAR_OK)
			remote_note_killed(&instance->remote, i);
	}
	return remote_next_expiry(&instance->remote, now_ns);
}

int32_t instance_retire(struct instance *instance, struct batch *batch, par_error *error)
{
	const par_backend_ops *ops = &instance->provider->ops;
	int32_t status = batch->status;

	if (ops->retrieve_result_callback != NULL)
		status = ops->retrieve_result_callback(instance->backend,
		                                       batch_handle(&instance->batches, batch),
		                                       batch->future, status, error);
	if (instance->has_remote) {
		const struct parcel *parcel = &instance->remote.parcels[place_of(instance, batch)];

		remote_close(&instance->remote, place_of(instance, batch), status, &batch->how);
		batch->ran = parcel->ran;
		batch->ran_ns = parcel->ran_ns;
		if (error != NULL && error->reason[0] == '\0' && batch->how.text != NULL)
			error_reason(error, "%s", batch->how.text);
	}
	if (ops->batch_completed != NULL && status == PAR_OK && batch->ran > 0)
		ops->batch_completed(instance->backend, (int64_t)batch->ran, batch->ran_ns);
	batch_close(&instance->batches, batch);
	return status;
}
