/* custom.c - a backend in the program itself: it starts a thread for each batch.
 *
 *	$ ./custom
 *	0 1 2 3 4 5 6 7 8 9
 */
#include <parloop/backend.h>
#include <parloop/parloop.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct par_backend {
	const par_host *host;
};

struct work {
	const par_host *host;
	par_batch batch;
	pthread_t thread;
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
	return n_jobs > 0 ? n_jobs : backend->host->cores(backend->host);
}

static void *run(void *arg)
{
	struct work *work = arg;

	work->host->done(work->host, work->batch, work->host->run(work->host, work->batch), NULL);
	return NULL;
}

/* Threads of a backend leave signals to those of the program. */
static int start(struct work *work)
{
	sigset_t all, before;
	int failure;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failure = pthread_create(&work->thread, NULL, run, work);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return failure;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	struct work *work = malloc(sizeof(*work));

	if (work == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	*work = (struct work){.host = backend->host, .batch = batch};
	*future = work;
	if (start(work) == 0)
		return PAR_OK;
	free(work);
	return par_fail(error, PAR_ENOMEM, "no thread");
}

/* Its thread has said that it is done, and ends. */
static int32_t retrieve_result_callback(par_backend *backend, par_batch batch, void *future,
                                        int32_t status, par_error *error)
{
	struct work *work = future;

	pthread_join(work->thread, NULL);
	free(work);
	return status;
}

static const par_backend_ops ops = {
	.size = sizeof(ops), .abi = PAR_ABI, .create = create, .destroy = destroy,
	.effective_n_jobs = effective_n_jobs, .submit = submit,
	.retrieve_result_callback = retrieve_result_callback,
};

static const par_backend_ops *factory(const par_host *host, const char *name)
{
	return &ops;
}

static int same(const int *in, int *out)
{
	*out = *in;
	return 0;
}
PAR_TASK(same, int, int)

int main(void)
{
	par_error error = PAR_ERROR_INIT;
	int in[10], out[10];

	for (int i = 0; i < 10; i++)
		in[i] = i;
	if (par_register_backend("custom", factory, NULL, 0, &error) < 0 ||
	    par_map(NULL, &par_task_same, in, out, 10,
	            PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(2)), &error) < 0)
		return fprintf(stderr, "%s: %s\n", error.what, error.reason), 1;
	for (int i = 0; i < 10; i++)
		printf("%d%c", out[i], i < 9 ? ' ' : '\n');
	return 0;
}
