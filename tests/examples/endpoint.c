/* endpoint.c - a backend whose instances are made with an endpoint and a key.
 *
 *	$ ./endpoint
 *	http://compute, opened with a key of 2 characters
 *	0 1 2 3 4 5 6 7 8 9
 */
#include <parloop/backend.h>
#include <parloop/parloop.h>
#include <stdlib.h>
#include <string.h>

struct par_backend {
	const par_host *host;
};

/* The options were checked before; their texts stay valid as long as the instance. */
static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
	*backend = malloc(sizeof(**backend));
	if (*backend == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	(*backend)->host = host;
	printf("%s, opened with a key of %zu characters\n", host->option_text(options, "endpoint"),
	       strlen(host->option_text(options, "api_key")));
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

/* Whatever listens there would be sent the batch; here it is run at once. */
static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	backend->host->done(backend->host, batch, backend->host->run(backend->host, batch), NULL);
	return PAR_OK;
}

static const par_backend_ops ops = {
	.size = sizeof(ops), .abi = PAR_ABI, .create = create, .destroy = destroy,
	.effective_n_jobs = effective_n_jobs, .submit = submit,
};

static const par_backend_ops *factory(const par_host *host, const char *name)
{
	return &ops;
}

#define NOTE                                                                                    \
	PAR_CAPABILITIES("shares_memory runs_inline")                                           \
	PAR_OPTION_TEXT("required endpoint", "", "where it listens")                            \
	PAR_OPTION_TEXT("required secret api_key", "", "what opens it; shown to nobody")

static int same(const int *in, int *out)
{
	*out = *in;
	return 0;
}
PAR_TASK(same, int, int)

int main(void)
{
	const char *const options[] = {"endpoint=http://compute", "api_key=42", NULL};
	par_error error = PAR_ERROR_INIT;
	int in[10], out[10];

	for (int i = 0; i < 10; i++)
		in[i] = i;
	if (par_register_backend("custom", factory, NOTE, 0, &error) < 0)
		return fprintf(stderr, "%s: %s\n", error.what, error.reason), 1;
	PAR_CONTEXT(context, &error, .backend = "custom", .options = options);
	if (context == NULL || par_map(NULL, &par_task_same, in, out, 10, NULL, &error) < 0)
		return fprintf(stderr, "%s: %s\n", error.what, error.reason), 1;
	for (int i = 0; i < 10; i++)
		printf("%d%c", out[i], i < 9 ? ' ' : '\n');
	return 0;
}
