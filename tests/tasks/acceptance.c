/* acceptance.c - tasks of the behaviours (tests/acceptance/).  In a module, so that backends in
 * other processes can run them too.  Those that make calls of their own find par_map and the
 * like in whoever loads the module. */
#include "acceptance.h"

#include <parloop/parloop.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int square(const uint64_t *in, uint64_t *out)
{
	*out = *in * *in;
	return 0;
}
PAR_TASK(square, uint64_t, uint64_t)

/* Every value becomes the number of tasks that were run together with it: not what a
 * macro makes of a function, but a range by hand. */
static int32_t range_together(par_env *env, const void *in, void *out, uint64_t n, uint64_t *at)
{
	(void)env, (void)in, (void)at;
	for (uint64_t i = 0; i < n; i++)
		((uint64_t *)out)[i] = n;
	return 0;
}
PAR__TASK_DEFINE(together, PAR_TASK_TYPED, sizeof(uint64_t), sizeof(uint64_t), 0, range_together,
                 NULL)

/* The value ACCEPTANCE_BAD fails, with a type and words. */
static int fail_at_seven(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = *in;
	if (*in == ACCEPTANCE_BAD)
		return par_fail_task_as(env, ACCEPTANCE_CODE, "SevenError", "%d is not liked",
		                        ACCEPTANCE_BAD);
	return 0;
}
PAR_TASK_ENV(fail_at_seven, uint64_t, uint64_t)

/* A file beside those of the others says that the task has run: the call shares its folder. */
static int leave_mark(par_env *env, const uint64_t *in, uint64_t *out)
{
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/mark-%llu", (const char *)env->shared,
	               (unsigned long long)*in);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return par_fail_task(env, 1, "no file %s", path);
	close(fd);
	*out = *in;
	return 0;
}
PAR_TASK_ENV(leave_mark, uint64_t, uint64_t)

/* Ctrl-C, typed while this task runs: the call shares the process that gets it. */
static int interrupt(par_env *env, const uint64_t *in, uint64_t *out)
{
	struct timespec moment = {.tv_nsec = 1000000};
	pid_t who;

	*out = *in;
	if (*in != 0)
		return 0;
	memcpy(&who, env->shared, sizeof(who));
	kill(who, SIGINT);
	for (int i = 0; i < 20000 && !par_cancelled(env); i++)
		nanosleep(&moment, NULL);
	return 0;
}
PAR_TASK_ENV(interrupt, uint64_t, uint64_t)

/* Value 0 fails at once; the others would take ten seconds. */
static int fail_or_linger(par_env *env, const uint64_t *in, uint64_t *out)
{
	struct timespec moment = {.tv_nsec = 1000000};

	*out = *in;
	if (*in == 0)
		return par_fail_task(env, 1, "the first fails");
	for (int i = 0; i < 10000 && !par_cancelled(env); i++)
		nanosleep(&moment, NULL);
	return 0;
}
PAR_TASK_ENV(fail_or_linger, uint64_t, uint64_t)

/* A loop in a loop: it fails as its own call does, and says no more. */
static int loop_to_seven(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t inner_in[10], inner_out[10];

	(void)env;
	for (uint64_t i = 0; i < 10; i++)
		inner_in[i] = *in == 3 ? i : 0;
	*out = *in;
	return par_map(NULL, &par_task_fail_at_seven, inner_in, inner_out, 10,
	               PAR_SETTINGS(.n_jobs = PAR_SET(2)), NULL) == PAR_OK ? 0 : ACCEPTANCE_CODE;
}
PAR_TASK_ENV(loop_to_seven, uint64_t, uint64_t)

/* All that many tasks are here at once, or none ends: the call shares a word that each of them may
 * write to. */
static int meet(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint32_t *met = (uint32_t *)(uintptr_t)env->shared;
	struct timespec moment = {.tv_nsec = 100000};

	*out = (uint64_t)getpid();
	(void)__atomic_fetch_add(met, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 100000 && !par_cancelled(env); i++) {
		if (__atomic_load_n(met, __ATOMIC_SEQ_CST) >= *in)
			return 0;
		nanosleep(&moment, NULL);
	}
	return par_fail_task(env, 1, "only %u have come", __atomic_load_n(met, __ATOMIC_SEQ_CST));
}
PAR_TASK_ENV(meet, uint64_t, uint64_t)

/* End the worker, unless the value is 0. */
static int end(par_env *env, const uint64_t *in, uint64_t *out)
{
	(void)env;
	*out = (uint64_t)getpid();
	if (*in >= ACCEPTANCE_EXIT)
		_exit((int)(*in - ACCEPTANCE_EXIT));
	if (*in > 0)
		kill(getpid(), (int)*in);
	return 0;
}
PAR_TASK_ENV(end, uint64_t, uint64_t)

static int write_file(par_env *env, const char *name, int number)
{
	char path[4096], new[4104];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", (const char *)env->shared, name);
	(void)snprintf(new, sizeof(new), "%s.new", path);
	file = fopen(new, "w");
	if (file == NULL || fprintf(file, "%d\n", number) < 0 || fclose(file) != 0 || rename(new, path) != 0)
		return par_fail_task(env, 1, "no file %s", path);
	return 0;
}

/* 0: it is not there yet. */
static int read_file(par_env *env, const char *name)
{
	char path[4096];
	int number = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", (const char *)env->shared, name);
	file = fopen(path, "r");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%d", &number) != 1)
		number = 0;
	fclose(file);
	return number;
}

/* Task 0 waits to be killed by task 1, which finds its process in a file; when it is run again, it
 * says that it was.  Others do nothing. */
static int end_another(par_env *env, const uint64_t *in, uint64_t *out)
{
	struct timespec moment = {.tv_nsec = 1000000};
	int pid = read_file(env, "victim");

	*out = *in;
	if (*in == 0 && pid > 0)
		return write_file(env, "saved", pid);
	if (*in == 0 && write_file(env, "victim", (int)getpid()) != 0)
		return 1;
	for (int i = 0; *in < 2 && i < 20000 && (*in == 0 || pid == 0); i++) {
		nanosleep(&moment, NULL);
		pid = read_file(env, "victim");
	}
	if (*in == 0)
		return par_fail_task(env, 1, "nobody has killed me");
	if (*in == 1)
		kill(pid, SIGKILL);
	return 0;
}
PAR_TASK_ENV(end_another, uint64_t, uint64_t)
