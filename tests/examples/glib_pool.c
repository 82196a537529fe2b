/* glib_pool.c - a backend around an executor that exists already, GLib's GThreadPool.
 *
 *	$ ./glib_pool
 *	0 1 4 9 16 25 36 49 64 81
 */
#include <glib.h>
#include <parloop/backend.h>
#include <parloop/parloop.h>

struct par_backend {
	const par_host *host;
	GThreadPool *pool;
};

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
	*backend = g_new0(par_backend, 1);
	(*backend)->host = host;
	return PAR_OK;
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	if (n_jobs < 0)
		n_jobs += backend->host->cores(backend->host) + 1;
	return MAX(n_jobs, 1);
}

/* What the pool's threads do: run the tasks of a batch, and give it back. */
static void run(gpointer data, gpointer arg)
{
	const par_host *host = arg;
	par_batch batch = *(par_batch *)data;

	g_free(data);
	host->done(host, batch, host->run(host, batch), NULL);
}

static int32_t configure(par_backend *backend, const par_call *call, par_answer *answer,
                         par_error *error)
{
	gpointer host = (gpointer)backend->host;
	GError *why = NULL;

	backend->pool = g_thread_pool_new(run, host, answer->n_jobs, FALSE, &why);
	if (why == NULL)
		return PAR_OK;
	par_fail(error, PAR_ENOMEM, "%s", why->message);
	g_error_free(why);
	return PAR_ENOMEM;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	/* Without a thread now, a later one of the pool's takes it. */
	g_thread_pool_push(backend->pool, g_memdup2(&batch, sizeof(batch)), NULL);
	return PAR_OK;
}

static int32_t terminate(par_backend *backend, par_error *error)
{
	if (backend->pool != NULL)
		g_thread_pool_free(backend->pool, FALSE, TRUE);
	backend->pool = NULL;
	return PAR_OK;
}

static void destroy(par_backend *backend)
{
	g_free(backend);
}

static const par_backend_ops ops = {
	.size = sizeof(ops), .abi = PAR_ABI, .create = create, .destroy = destroy,
	.effective_n_jobs = effective_n_jobs, .configure = configure, .submit = submit,
	.terminate = terminate,
};

static const par_backend_ops *factory(const par_host *host, const char *name)
{
	return &ops;
}

/* --- and a loop on it, which does not know ---------------------------------------------------- */

static int square(const int *in, int *out)
{
	*out = *in * *in;
	return 0;
}
PAR_TASK(square, int, int)

static int32_t squares(const int *in, int *out, par_error *error)
{
	return par_map(NULL, &par_task_square, in, out, 10, NULL, error);
}

int main(void)
{
	par_error error = PAR_ERROR_INIT;
	int in[10], out[10];

	for (int i = 0; i < 10; i++)
		in[i] = i;
	if (par_register_backend("custom", factory, PAR_CAPABILITIES("shares_memory uses_threads"),
	                         0, &error) < 0)
		return fprintf(stderr, "%s: %s\n", error.what, error.reason), 1;
	{
		PAR_CONTEXT(context, &error, .backend = "custom", .n_jobs = PAR_SET(2));
		if (context == NULL || squares(in, out, &error) < 0)
			return fprintf(stderr, "%s: %s\n", error.what, error.reason), 1;
	}
	for (int i = 0; i < 10; i++)
		printf("%d%c", out[i], i < 9 ? ' ' : '\n');
	return 0;
}
