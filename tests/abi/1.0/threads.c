/* threads.c - a backend for parloop: threads that take their batches from a pipe.
 *
 * It works as it is.  Where the threads and the pipe are, put your engine: submit() gives it a
 * number, and one of its workers calls run() and done() with that. */
#define _GNU_SOURCE
#include <parloop/backend.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

PAR_PLUGIN(
	PAR_VERSION("0.1")
	PAR_BACKEND("threads", "threads that take their batches from a pipe")
	PAR_CAPABILITIES("shares_memory uses_threads auto_batches")
	PAR_OPTION_INT("most", 64, 1, 1024, "threads at most"))

struct par_backend {
	const par_host *host;
	int most, n_threads, queue[2];
	pthread_t threads[1024];
};

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
	(void)level, (void)inner_max_num_threads;
	*backend = calloc(1, sizeof(**backend));
	if (*backend == NULL || pipe2((*backend)->queue, O_CLOEXEC) < 0) {
		free(*backend);
		return par_fail(error, PAR_ENOMEM, "no memory, or no descriptors for a pipe");
	}
	(*backend)->host = host;
	(*backend)->most = (int)host->option_int(options, "most");
	return PAR_OK;
}

/* The workers read the end of the pipe, and end. */
static void destroy(par_backend *backend)
{
	close(backend->queue[1]);
	while (backend->n_threads > 0)
		pthread_join(backend->threads[--backend->n_threads], NULL);
	close(backend->queue[0]);
	free(backend);
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	if (n_jobs < 0)
		n_jobs += backend->host->cores(backend->host) + 1;
	return n_jobs < 1 ? 1 : n_jobs > backend->most ? backend->most : n_jobs;
}

static void *worker(void *arg)
{
	par_backend *backend = arg;
	const par_host *host = backend->host;
	par_batch batch;

	while (read(backend->queue[0], &batch, sizeof(batch)) == sizeof(batch))
		host->done(host, batch, host->run(host, batch), NULL);
	return NULL;
}

/* Make the workers.  Signals are the program's affair, and reach its own threads. */
static int32_t configure(par_backend *backend, const par_call *call, par_answer *answer,
                         par_error *error)
{
	sigset_t all, before;
	int *n = &backend->n_threads;

	(void)call;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (*n < answer->n_jobs && pthread_create(&backend->threads[*n], NULL, worker, backend) == 0)
		++*n;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (*n == 0)
		return par_fail(error, PAR_ENOMEM, "cannot start a thread");
	answer->n_jobs = *n < answer->n_jobs ? *n : answer->n_jobs;
	return PAR_OK;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	(void)future;
	if (write(backend->queue[1], &batch, sizeof(batch)) == sizeof(batch))
		return PAR_OK;
	return par_fail(error, PAR_EFAILED, "the pipe is broken");
}

static const par_backend_ops ops = {
	.size = sizeof(ops), .abi = PAR_ABI, .create = create, .destroy = destroy,
	.effective_n_jobs = effective_n_jobs, .configure = configure, .submit = submit,
};

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host;
	return strcmp(name, "threads") == 0 ? &ops : NULL;
}
