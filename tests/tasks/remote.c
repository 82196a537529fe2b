/* remote.c - tasks for tests/test_remote.c, to be run where the caller's memory is not. */
#include <parloop/task.h>

#include <unistd.h>

static int triple(const int64_t *in, int64_t *out)
{
	*out = 3 * *in;
	return 0;
}
PAR_TASK(triple, int64_t, int64_t)

/* Fails at 7 and above, and for 3 the first time. */
static int picky(par_env *env, const int64_t *in, int64_t *out)
{
	*out = *in;
	if (*in == 3 && env->attempt == 0)
		return par_fail_task_as(env, 9, "Shy", "not at once");
	return *in < 7 ? 0 : par_fail_task_as(env, 4, "TooHigh", "%lld is too high", (long long)*in);
}
PAR_TASK_ENV(picky, int64_t, int64_t)

/* Its attempt, and what the call shares, or begins with. */
static int tell(par_env *env, const int64_t *in, int64_t *out)
{
	*out = *in * 100 + env->attempt;
	if (env->shared_size >= sizeof(int64_t))
		*out += *(const int64_t *)env->shared;
	return 0;
}
PAR_TASK_ENV(tell, int64_t, int64_t)

/* Slow at its first try. */
static int dawdle(par_env *env, const int64_t *in, int64_t *out)
{
	if (env->attempt == 0)
		usleep(100000);
	*out = 3 * *in;
	return 0;
}
PAR_TASK_ENV(dawdle, int64_t, int64_t)

static int echo(par_env *env, const void *payload, uint64_t size)
{
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(echo)
