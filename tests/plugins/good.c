/* A backend as it should be: runs each batch where it is submitted. */
#include <parloop/backend.h>

#include <stdlib.h>
#include <string.h>

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

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	(void)future, (void)error;
	backend->host->done(backend->host, batch, backend->host->run(backend->host, batch), NULL);
	return PAR_OK;
}

PAR_PLUGIN(
	PAR_VERSION("1.2.3")
	PAR_BACKEND("good", "runs inline, for tests")
	PAR_CAPABILITIES("shares_memory runs_inline")
	PAR_BATCH_TIMES("100us", "1ms")
	PAR_OPTION_INT("count", 3, 1, 10, "a number")
	PAR_OPTION_TIME("pause", "20ms", "0", "1min", "a time")
	PAR_OPTION_CHOICE("mode", "slow", "slow|fast", "a choice")
	PAR_OPTION_TEXT("secret token", "", "never shown"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	static const par_backend_ops ops = {
		.size = sizeof(ops),
		.abi = PAR_ABI,
		.create = create,
		.destroy = destroy,
		.effective_n_jobs = effective_n_jobs,
		.submit = submit,
	};

	(void)host;
	return strcmp(name, "good") == 0 ? &ops : NULL;
}
