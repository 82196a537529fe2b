/* A task module whose tasks make calls of their own: one that fails, and one that wants
 * 300 workers. */
#include <parloop/parloop.h>

static int inner(par_env *env, const int *in, int *out)
{
	*out = *in;
	return *in == 1 ? par_fail_task_as(env, 5, "Inner", "the inner one") : 0;
}
PAR_TASK_ENV(inner, int, int)

static int outer(par_env *env, const void *payload, uint64_t size)
{
	const int in[] = {0, 1, 2};
	int out[3];

	(void)payload, (void)size;
	if (par_map(NULL, &par_task_inner, in, out, 3, NULL, NULL) < 0)
		return par_fail_task(env, 4, "the outer one");
	return 0;
}
PAR_TASK_OF_BYTES(outer)

static int workers(par_env *env, const void *payload, uint64_t size)
{
	par_error error = PAR_ERROR_INIT;
	par_parallel *pool;
	int n;

	(void)payload, (void)size;
	if (par_open(&pool, PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(300)), &error) < 0)
		return par_fail_task(env, 4, "%s", error.what);
	n = par_n_jobs(pool);
	par_close(pool);
	return par_reply(env, n == 300 ? "all" : "some", n == 300 ? 3 : 4);
}
PAR_TASK_OF_BYTES(workers)
