/* conformance.c - the tasks with which tests/conformance.c asks a backend what it
 * does.  In a module, so that backends in other processes can run them too. */
#include "conformance.h"

#include <parloop/task.h>

#include <time.h>
#include <unistd.h>

static int mix(const uint64_t *in, uint64_t *out)
{
	*out = conformance_mix(*in);
	return 0;
}
PAR_TASK(mix, uint64_t, uint64_t)

/* Fails for values from CONFORMANCE_BAD on, with the value in its words. */
static int fail_some(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = conformance_mix(*in);
	if (*in < CONFORMANCE_BAD)
		return 0;
	return par_fail_task(env, CONFORMANCE_CODE, "the value %llu is bad",
	                     (unsigned long long)*in);
}
PAR_TASK_ENV(fail_some, uint64_t, uint64_t)

static int look(par_env *env, const uint64_t *in, struct seen *out)
{
	*out = (struct seen){
		.value = *in,
		.index = env->index,
		.worker = env->worker,
		.level = env->level,
		.cancelled = par_cancelled(env),
		.pid = getpid(),
		.shared_size = env->shared_size,
	};
	if (env->shared_size == sizeof(out->shared))
		memcpy(&out->shared, env->shared, sizeof(out->shared));
	return 0;
}
PAR_TASK_ENV(look, uint64_t, struct seen)

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait so many milliseconds, or until the call ends. */
static int wait_for(par_env *env, const uint64_t *in, uint64_t *out)
{
	struct timespec moment = {.tv_nsec = 1000000};
	int64_t until_ms = now_ms() + (int64_t)*in;

	while (now_ms() < until_ms && !par_cancelled(env))
		nanosleep(&moment, NULL);
	*out = conformance_mix(*in);
	return 0;
}
PAR_TASK_ENV(wait_for, uint64_t, uint64_t)

static int echo(par_env *env, const void *payload, uint64_t size)
{
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(echo)

/* The payload says how many bytes to reply with. */
static int fill(par_env *env, const void *payload, uint64_t size)
{
	unsigned char *room;
	uint64_t wanted;

	if (size != sizeof(wanted))
		return par_fail_task(env, 1, "%llu bytes of payload", (unsigned long long)size);
	memcpy(&wanted, payload, sizeof(wanted));
	room = par_reply_room(env, wanted);
	if (room == NULL)
		return par_fail_task(env, 2, "no room for %llu bytes", (unsigned long long)wanted);
	for (uint64_t i = 0; i < wanted; i++)
		room[i] = conformance_byte(wanted, i);
	return 0;
}
PAR_TASK_OF_BYTES(fill)

static int silent(par_env *env, const void *payload, uint64_t size)
{
	(void)env, (void)payload, (void)size;
	return 0;
}
PAR_TASK_OF_BYTES(silent)

/* The last reply counts. */
static int reply_twice(par_env *env, const void *payload, uint64_t size)
{
	if (par_reply(env, "a first reply, longer than the second", 37) != 0)
		return 1;
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(reply_twice)
