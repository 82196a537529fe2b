/* tasks.c - the task module of `parloop check`. */
#include "../tasks.h"

#include <parloop/parloop.h>
#include <parloop/task.h>

#include <stdlib.h>
#include <time.h>

static void sleep_ms(int ms)
{
	(void)nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

static int check_mix(const uint64_t *in, uint64_t *out)
{
	*out = tasks_mixed(*in);
	return 0;
}
PAR_TASK(check_mix, uint64_t, uint64_t)

static int check_picky(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = tasks_mixed(*in);
	return *in >= TASKS_BAD ? par_fail_task(env, TASKS_CODE, "bad") : 0;
}
PAR_TASK_ENV(check_picky, uint64_t, uint64_t)

/* Long, but it looks whether it is to end. */
static int check_long(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = tasks_mixed(*in);
	for (int i = 0; i < 30000 && !par_cancelled(env); i++)
		sleep_ms(1);
	return 0;
}
PAR_TASK_ENV(check_long, uint64_t, uint64_t)

static int check_crash(const uint64_t *in, uint64_t *out)
{
	*out = tasks_mixed(*in);
	if (*in >= TASKS_SPECIAL)
		abort();
	return 0;
}
PAR_TASK(check_crash, uint64_t, uint64_t)

static int check_stuck(const uint64_t *in, uint64_t *out)
{
	*out = tasks_mixed(*in);
	while (*in >= TASKS_SPECIAL)
		sleep_ms(1000);
	return 0;
}
PAR_TASK(check_stuck, uint64_t, uint64_t)

static int check_nested(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t inner[TASKS_INNER];
	par_error error = PAR_ERROR_INIT;

	for (uint64_t i = 0; i < TASKS_INNER; i++)
		inner[i] = *in + i;
	if (par_map(NULL, &par_task_check_mix, inner, inner, TASKS_INNER,
	            PAR_SETTINGS(.n_jobs = PAR_SET(2)), &error) < 0)
		return par_fail_task(env, 1, "a map inside a task: %s; %s", error.what, error.reason);
	*out = 0;
	for (int i = 0; i < TASKS_INNER; i++)
		*out += inner[i];
	return 0;
}
PAR_TASK_ENV(check_nested, uint64_t, uint64_t)
