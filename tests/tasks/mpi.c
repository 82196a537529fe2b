/* mpi.c - tasks for tests/test_mpi.c, to be run on the ranks of a job. */
#include <parloop/parloop.h>
#include <parloop/task.h>

#include <time.h>
#include <unistd.h>

static void sleep_ms(long ms)
{
	const struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	(void)nanosleep(&time, NULL);
}

/* In calls of its own: how many threads did what it asks for? */
static int square(const uint64_t *in, uint64_t *out)
{
	*out = *in * *in;
	return 0;
}
PAR_TASK(square, uint64_t, uint64_t)

static int nest(par_env *env, const uint64_t *in, uint64_t *out)
{
	par_error error = PAR_ERROR_INIT;
	uint64_t list[10], squares[10];

	for (uint64_t i = 0; i < 10; i++)
		list[i] = *in + i;
	if (par_map(NULL, &par_task_square, list, squares, 10, PAR_SETTINGS(.n_jobs = PAR_SET(2)), &error) < 0)
		return par_fail_task(env, error.code, "%s: %s", error.what, error.reason);
	*out = 0;
	for (int i = 0; i < 10; i++)
		*out += squares[i];
	return 0;
}
PAR_TASK_ENV(nest, uint64_t, uint64_t)

/* Until it is told that the call ends, a minute at the most; counts who was told. */
static int wait_for_end(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = *in;
	for (int i = 0; i < 12000 && !par_cancelled(env); i++)
		sleep_ms(5);
	return 0;
}
PAR_TASK_ENV(wait_for_end, uint64_t, uint64_t)

/* The number of its worker, after some milliseconds. */
static int seat(par_env *env, const uint64_t *in, uint64_t *out)
{
	sleep_ms((long)*in);
	*out = env->worker;
	return 0;
}
PAR_TASK_ENV(seat, uint64_t, uint64_t)

/* One word of what all tasks share. */
static int look_up(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = *in < env->shared_size / sizeof(uint64_t) ? ((const uint64_t *)env->shared)[*in] : 0;
	return 0;
}
PAR_TASK_ENV(look_up, uint64_t, uint64_t)
