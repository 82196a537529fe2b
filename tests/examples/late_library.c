/* late_library.c - the library of late.c: a plugin, and a function that registers it. */
#include <parloop/backend.h>
#include <parloop/parloop.h>
#include <stdlib.h>
#include <string.h>

#define CAN PAR_CAPABILITIES("shares_memory runs_inline")

PAR_PLUGIN(PAR_VERSION("1.0.0") PAR_BACKEND("late", "runs every batch at once") CAN)

struct par_backend {
	const par_host *host;
};

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
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
	return 1;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	backend->host->done(backend->host, batch, backend->host->run(backend->host, batch), NULL);
	return PAR_OK;
}

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	static const par_backend_ops ops = {
		.size = sizeof(ops), .abi = PAR_ABI, .create = create, .destroy = destroy,
		.effective_n_jobs = effective_n_jobs, .submit = submit,
	};

	return strcmp(name, "late") == 0 ? &ops : NULL;
}

PAR_API int32_t register_late(par_error *error);
PAR_API int32_t register_late(par_error *error)
{
	return par_register_backend("late", parloop_backend_v1, CAN, 0, error);
}
