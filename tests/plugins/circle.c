/* Two backends that each name the other as the one to use instead. */
#include "stub.h"

#include <string.h>

struct par_backend {
	const char *other;
};

static int32_t make(par_backend *backend, par_backend **out)
{
	*out = backend;
	return PAR_OK;
}

static int32_t make_this(const par_host *host, const par_options *options, int32_t level,
                         int32_t inner_max_num_threads, par_backend **out, par_error *error)
{
	static par_backend this_way = {"that-way"};

	(void)host, (void)options, (void)level, (void)inner_max_num_threads, (void)error;
	return make(&this_way, out);
}

static int32_t make_that(const par_host *host, const par_options *options, int32_t level,
                         int32_t inner_max_num_threads, par_backend **out, par_error *error)
{
	static par_backend that_way = {"this-way"};

	(void)host, (void)options, (void)level, (void)inner_max_num_threads, (void)error;
	return make(&that_way, out);
}

static int32_t pass_on(par_backend *backend, const par_call *call, par_answer *answer, par_error *error)
{
	(void)call, (void)error;
	answer->fallback = backend->other;
	return PAR_OK;
}

PAR_PLUGIN(
	PAR_VERSION("1")
	PAR_BACKEND("this-way", "falls back on that-way")
	PAR_CAPABILITIES("shares_memory")
	PAR_BACKEND("that-way", "falls back on this-way")
	PAR_CAPABILITIES("shares_memory"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	static const par_backend_ops this_way = {
		.size = sizeof(par_backend_ops), .abi = PAR_ABI, .create = make_this,
		.destroy = stub_destroy, .effective_n_jobs = stub_jobs, .configure = pass_on,
		.submit = stub_submit};
	static const par_backend_ops that_way = {
		.size = sizeof(par_backend_ops), .abi = PAR_ABI, .create = make_that,
		.destroy = stub_destroy, .effective_n_jobs = stub_jobs, .configure = pass_on,
		.submit = stub_submit};

	(void)host;
	return strcmp(name, "this-way") == 0   ? &this_way
	       : strcmp(name, "that-way") == 0 ? &that_way
	                                       : NULL;
}
