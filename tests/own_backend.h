/* own_backend.h - a backend that is linked into the test: it starts a thread for each batch,
 * or runs it at once, and keeps account of what it was asked for. */
#ifndef TESTS_OWN_BACKEND_H
#define TESTS_OWN_BACKEND_H

#include <parloop/backend.h>
#include <parloop/parloop.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define OWN_UNUSED __attribute__((unused))

#define OWN_NOTE                                                                                \
	PAR_CAPABILITIES("shares_memory uses_threads limits_threads")                           \
	PAR_OPTION_TEXT("endpoint", "nowhere", "where it listens")                              \
	PAR_OPTION_TEXT("secret api_key", "", "what opens it")

struct par_backend {
	const par_host *host;
};

/* What happened, of the whole process. */
static struct {
	pthread_mutex_t lock; /* of what instances write */
	_Atomic int factory_calls, creates, batches, enters, exits;
	char endpoint[40], api_key[40]; /* of the last create */
	int32_t level, inner;
	par_call call; /* of the last configure */
	int runs_inline, default_n_jobs, has_no_worker;
} own = {.lock = PTHREAD_MUTEX_INITIALIZER, .default_n_jobs = 1};

static int32_t own_create(const par_host *host, const par_options *options, int32_t level,
                          int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
	*backend = malloc(sizeof(**backend));
	if (*backend == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	(*backend)->host = host;
	own.creates++;
	pthread_mutex_lock(&own.lock);
	own.level = level;
	own.inner = inner_max_num_threads;
	(void)snprintf(own.endpoint, sizeof(own.endpoint), "%s", host->option_text(options, "endpoint"));
	(void)snprintf(own.api_key, sizeof(own.api_key), "%s", host->option_text(options, "api_key"));
	pthread_mutex_unlock(&own.lock);
	return PAR_OK;
}

static void own_destroy(par_backend *backend)
{
	free(backend);
}

static int32_t own_effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	int32_t cores = backend->host->cores(backend->host);

	if (own.has_no_worker)
		return 0;
	return n_jobs > 0 ? n_jobs : cores + 1 + n_jobs > 1 ? cores + 1 + n_jobs : 1;
}

static int32_t own_default_n_jobs(par_backend *backend)
{
	(void)backend;
	return own.default_n_jobs;
}

static int32_t own_configure(par_backend *backend, const par_call *call, par_answer *answer,
                             par_error *error)
{
	(void)backend, (void)answer, (void)error;
	pthread_mutex_lock(&own.lock);
	own.call = *call;
	pthread_mutex_unlock(&own.lock);
	return PAR_OK;
}

struct own_batch {
	const par_host *host;
	par_batch batch;
	pthread_t thread;
};

static void *own_run(void *arg)
{
	struct own_batch *batch = arg;
	const par_host *host = batch->host;

	host->done(host, batch->batch, host->run(host, batch->batch), NULL);
	return NULL;
}

static int32_t own_submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	struct own_batch *work = malloc(sizeof(*work));

	if (work == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	own.batches++;
	*work = (struct own_batch){.host = backend->host, .batch = batch};
	*future = work;
	if (own.runs_inline) {
		own_run(work);
		return PAR_OK;
	}
	if (pthread_create(&work->thread, NULL, own_run, work) == 0)
		return PAR_OK;
	free(work);
	return par_fail(error, PAR_ENOMEM, "no thread");
}

static int32_t own_retrieve(par_backend *backend, par_batch batch, void *future, int32_t status,
                            par_error *error)
{
	struct own_batch *work = future;

	(void)backend, (void)batch, (void)error;
	if (!own.runs_inline)
		pthread_join(work->thread, NULL);
	free(work);
	return status;
}

static void own_enter(par_backend *backend)
{
	(void)backend;
	own.enters++;
}

static void own_exit(par_backend *backend)
{
	(void)backend;
	own.exits++;
}

OWN_UNUSED static const par_backend_ops *own_factory(const par_host *host, const char *name)
{
	static const par_backend_ops ops = {
		.size = sizeof(ops),
		.abi = PAR_ABI,
		.create = own_create,
		.destroy = own_destroy,
		.effective_n_jobs = own_effective_n_jobs,
		.default_n_jobs = own_default_n_jobs,
		.configure = own_configure,
		.submit = own_submit,
		.retrieve_result_callback = own_retrieve,
		.retrieval_enter = own_enter,
		.retrieval_exit = own_exit,
	};

	(void)host, (void)name;
	own.factory_calls++;
	return &ops;
}

/* --- a loop to run on it; a program has it once ---------------------------------------------- */
#ifndef OWN_WITHOUT_LOOP

static int own_square(const int64_t *in, int64_t *out)
{
	*out = *in * *in;
	return 0;
}
PAR_TASK(own_square, int64_t, int64_t)

/* The squares below n are right; PAR_OK, or why the call failed. */
OWN_UNUSED static int32_t own_squares(const par_settings *settings, par_error *error)
{
	int64_t in[100], out[100] = {0};
	int32_t code;

	for (int64_t i = 0; i < 100; i++)
		in[i] = i;
	code = par_map(NULL, &par_task_own_square, in, out, 100, settings, error);
	for (int64_t i = 0; code == PAR_OK && i < 100; i++)
		if (out[i] != i * i)
			return par_fail(error, PAR_EFAILED, "out[%d] is wrong", (int)i);
	return code;
}

#endif
#endif
