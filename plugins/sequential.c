/* sequential - runs every batch on the calling thread, at once: the smallest honest
 * backend, and the one to copy.  joblib's SequentialBackend. */
#include <parloop/backend.h>

#include <stdlib.h>
#include <string.h>

PAR_PLUGIN(
	PAR_VERSION("1.0.0")
	PAR_BACKEND("sequential", "runs every task on the calling thread, one after the other")
	PAR_CAPABILITIES("shares_memory runs_inline auto_batches"))

struct par_backend {
	const par_host *host;
};

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
	(void)options, (void)level, (void)inner_max_num_threads;
	*backend = malloc(sizeof(**backend));
	if (*backend == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	(*backend)->host = host;
	return PAR_OK;
}

static void destroy(par_backend *backend)
{
	free(backend);
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	(void)backend, (void)n_jobs;
	return 1;
}

/* Whatever was asked for, one batch at a time is out: run() returns before submit() does. */
static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	(void)future, (void)error;
	backend->host->done(backend->host, batch, backend->host->run(backend->host, batch), NULL);
	return PAR_OK;
}

static const par_backend_ops ops = {
	.size = sizeof(ops),
	.abi = PAR_ABI,
	.create = create,
	.destroy = destroy,
	.effective_n_jobs = effective_n_jobs,
	.submit = submit,
};

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host;
	return strcmp(name, "sequential") == 0 ? &ops : NULL;
}
