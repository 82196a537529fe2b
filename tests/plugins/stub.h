/* stub.h - a table that passes every check, for plugins that fail another one. */
#include <parloop/backend.h>

#include <stdio.h>
#include <stdlib.h>

static int32_t stub_create(const par_host *host, const par_options *options, int32_t level,
                           int32_t inner_max_num_threads, par_backend **backend,
                           par_error *error)
{
	(void)host, (void)options, (void)level, (void)inner_max_num_threads, (void)backend;
	return par_fail(error, PAR_EUNAVAIL, "this plugin is for the loader's tests only");
}

static void stub_destroy(par_backend *backend)
{
	(void)backend;
}

static int32_t stub_jobs(par_backend *backend, int32_t n_jobs)
{
	(void)backend, (void)n_jobs;
	return 1;
}

static int32_t stub_submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	(void)backend, (void)batch, (void)future;
	return par_fail(error, PAR_EUNAVAIL, "this plugin is for the loader's tests only");
}

#define STUB_TABLE                                                                              \
	.size = sizeof(par_backend_ops), .abi = PAR_ABI, .create = stub_create,                 \
	.destroy = stub_destroy, .effective_n_jobs = stub_jobs, .submit = stub_submit

__attribute__((unused)) static const par_backend_ops stub_ops = {STUB_TABLE};
