#include "scene.h"

#include "lend.h"
#include "state.h"
#include "verdict.h"

#include <parloop/task.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct subject subject;

enum { BAD = 1000000, SPECIAL = 2000000 };

void scene_sleep_ms(int ms)
{
	(void)nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

static const char *about;

void scene_about(const char *rule)
{
	about = rule;
}

#define WRONG(...)                                                                              \
	do {                                                                                    \
		if (about != NULL)                                                              \
			broken_fatally(VERDICT_FAIL, about, __VA_ARGS__);                       \
		failed(__VA_ARGS__);                                                            \
	} while (0)

/* --- tasks ------------------------------------------------------------------------------------ */

static uint64_t mixed(uint64_t value)
{
	return (value + 1) * UINT64_C(6364136223846793005);
}

static int check_mix(const uint64_t *in, uint64_t *out)
{
	*out = mixed(*in);
	return 0;
}
PAR_TASK(check_mix, uint64_t, uint64_t)

static int check_picky(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = mixed(*in);
	return *in >= BAD ? par_fail_task(env, 7, "bad") : 0;
}
PAR_TASK_ENV(check_picky, uint64_t, uint64_t)

/* Long, but it looks whether it is to end. */
static int check_long(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = mixed(*in);
	for (int i = 0; i < 30000 && !par_cancelled(env); i++)
		scene_sleep_ms(1);
	return 0;
}
PAR_TASK_ENV(check_long, uint64_t, uint64_t)

static int check_crash(const uint64_t *in, uint64_t *out)
{
	*out = mixed(*in);
	if (*in >= SPECIAL)
		abort();
	return 0;
}
PAR_TASK(check_crash, uint64_t, uint64_t)

static int check_stuck(const uint64_t *in, uint64_t *out)
{
	*out = mixed(*in);
	while (*in >= SPECIAL)
		scene_sleep_ms(1000);
	return 0;
}
PAR_TASK(check_stuck, uint64_t, uint64_t)

static int check_nested(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t inner[10];
	par_error error = PAR_ERROR_INIT;

	for (uint64_t i = 0; i < 10; i++)
		inner[i] = *in + i;
	if (par_map(NULL, &par_task_check_mix, inner, inner, 10, PAR_SETTINGS(.n_jobs = PAR_SET(2)),
	            &error) < 0)
		return par_fail_task(env, 1, "a map inside a task: %s; %s", error.what, error.reason);
	*out = 0;
	for (int i = 0; i < 10; i++)
		*out += inner[i];
	return 0;
}
PAR_TASK_ENV(check_nested, uint64_t, uint64_t)

/* --- the plugin and pools --------------------------------------------------------------------- */

static const par_backend_ops *no_table(const par_host *host, const char *name)
{
	(void)name;
	guard_seen.factory = host;
	return NULL;
}

const par_host *scene_factory_host(void)
{
	par_error error = PAR_ERROR_INIT;

	if (par_register_backend("check-nothing", no_table, NULL, 0, &error) == PAR_OK)
		(void)par_context_push(PAR_SETTINGS(.backend = "check-nothing"), NULL, &error);
	if (guard_seen.factory == NULL)
		failed("the core calls no factory: %s; %s", error.what, error.reason);
	return guard_seen.factory;
}

void scene_load(void)
{
	const char *why = plugin_load(subject.plugin);

	if (why != NULL)
		skipped("it does not load: %s", why);
}

void scene_begin(void)
{
	par_error error = PAR_ERROR_INIT;

	scene_load();
	lend_watch();
	if (guard_register(subject.plugin, subject.backend, &error) < 0)
		failed("%s; %s", error.what, error.reason);
}

int scene_can(const char *capability)
{
	return plugin_can(subject.plugin, subject.backend, capability);
}

par_parallel *scene_try(int64_t n_jobs, const char *option, par_error *error)
{
	const char *options[64];
	par_parallel *pool;
	int n = 0;

	while (subject.options != NULL && subject.options[n] != NULL && n < 60) {
		options[n] = subject.options[n];
		n++;
	}
	options[n++] = option;
	options[n] = NULL;
	*error = (par_error)PAR_ERROR_INIT;
	(void)par_open(&pool, PAR_SETTINGS(.backend = subject.backend, .options = options,
	                                   .n_jobs = {1, n_jobs}),
	               error);
	return pool;
}

par_parallel *scene_open(int64_t n_jobs)
{
	par_error error;
	par_parallel *pool = scene_try(n_jobs, NULL, &error);

	if (pool != NULL)
		return pool;
	if (error.code == PAR_EUNAVAIL || error.code == PAR_ECONFIG)
		unavailable("it cannot be had here: %s; %s", error.what, error.reason);
	WRONG("it does not come up: %s; %s", error.what, error.reason);
}

/* --- jobs ------------------------------------------------------------------------------------- */

static uint64_t in[SCENE_TASKS], out[SCENE_TASKS];

static void expect_all(int n)
{
	for (int i = 0; i < n; i++)
		if (out[i] != mixed(in[i]))
			WRONG("task %d of %d has a wrong result, or never ran", i, n);
}

void scene_map(par_parallel *pool, int n, int64_t batch_size)
{
	par_error error = PAR_ERROR_INIT;

	for (int i = 0; i < n; i++) {
		in[i] = (uint64_t)i;
		out[i] = 0;
	}
	if (par_map(pool, &par_task_check_mix, in, out, (uint64_t)n,
	            PAR_SETTINGS(.batch_size = {1, batch_size}), &error) < 0)
		WRONG("a map of %d tasks fails: %s; %s", n, error.what, error.reason);
	expect_all(n);
}

int32_t scene_run(par_parallel *pool, par_error *error)
{
	uint64_t values[50];

	for (uint64_t i = 0; i < 50; i++)
		values[i] = i;
	return par_map(pool, &par_task_check_mix, values, values, 50, NULL, error);
}

void scene_fail(par_parallel *pool)
{
	par_error error = PAR_ERROR_INIT;
	int32_t status;

	for (int i = 0; i < 100; i++)
		in[i] = (uint64_t)i;
	in[50] += BAD;
	status = par_map(pool, &par_task_check_picky, in, out, 100, NULL, &error);
	if (status != PAR_EFAILED || error.task != 50 || error.task_code != 7)
		WRONG("a map whose task 50 fails ends with %s of task %d: %s; %s", par_code_name(status),
		       (int)error.task, error.what, error.reason);
}

struct canceller {
	par_parallel *pool;
	int after_ms;
	_Atomic int is_over;
};

/* Before the call has begun there is nothing to cancel. */
static void *cancel(void *user)
{
	struct canceller *canceller = user;

	scene_sleep_ms(canceller->after_ms);
	while (!canceller->is_over) {
		par_cancel(canceller->pool);
		scene_sleep_ms(1);
	}
	return NULL;
}

void scene_cancel(par_parallel *pool, int after_ms)
{
	struct canceller canceller = {.pool = pool, .after_ms = after_ms};
	par_error error = PAR_ERROR_INIT;
	pthread_t thread;
	int32_t status;

	for (int i = 0; i < 16; i++)
		in[i] = (uint64_t)i;
	if (pthread_create(&thread, NULL, cancel, &canceller) != 0)
		skipped("there is no thread to be had");
	status = par_map(pool, &par_task_check_long, in, out, 16, PAR_SETTINGS(.batch_size = PAR_SET(1)),
	                 &error);
	canceller.is_over = 1;
	(void)pthread_join(thread, NULL);
	if (status != PAR_ECANCELED)
		WRONG("a call that is cancelled ends with %s: %s; %s", par_code_name(status), error.what,
		       error.reason);
}

/* Others are about what may go wrong in it. */
void scene_exercise(void)
{
	par_parallel *pool;

	scene_about("B1");
	pool = scene_open(2);

	scene_map(pool, SCENE_TASKS, PAR_AUTO);
	scene_map(pool, 0, PAR_AUTO);
	scene_map(pool, 1, 1);
	for (int i = 0; i < 10; i++)
		scene_map(pool, 40, 1);
	scene_fail(pool);
	scene_about("B5");
	scene_cancel(pool, 20);
	scene_map(pool, 100, 7);
	par_close(pool);
	scene_about(NULL);
}

void scene_lose(par_parallel *pool, enum scene_kind kind)
{
	const par_task *task = kind == SCENE_CRASHES ? &par_task_check_crash : &par_task_check_stuck;
	int32_t statuses[20], wanted = kind == SCENE_CRASHES ? PAR_ELOST : PAR_ETIMEOUT;
	par_error error = PAR_ERROR_INIT;

	for (int i = 0; i < 20; i++)
		in[i] = (uint64_t)i;
	in[10] = SPECIAL;
	(void)par_map(pool, task, in, out, 20,
	              PAR_SETTINGS(.on_error = PAR_COLLECT, .statuses = statuses,
	                           .batch_size = PAR_SET(1), .task_timeout = PAR_SET(0.5)),
	              &error);
	for (int i = 0; i < 20; i++)
		if (statuses[i] != (i == 10 ? wanted : PAR_OK))
			WRONG("task 10 of 20 %s, and task %d ends with %s: %s; %s",
			       kind == SCENE_CRASHES ? "crashes" : "is stuck", i, par_code_name(statuses[i]),
			       error.what, error.reason);
}

void scene_nest(par_parallel *pool)
{
	par_error error = PAR_ERROR_INIT;

	for (int i = 0; i < 20; i++)
		in[i] = (uint64_t)i;
	if (par_map(pool, &par_task_check_nested, in, out, 20, NULL, &error) < 0)
		WRONG("%s; %s", error.what, error.reason);
	for (uint64_t i = 0; i < 20; i++) {
		uint64_t sum = 0;

		for (uint64_t k = 0; k < 10; k++)
			sum += mixed(i + k);
		if (out[i] != sum)
			WRONG("a map inside task %d has wrong results", (int)i);
	}
}

/* --- what is left ----------------------------------------------------------------------------- */

/* What ends has a moment to be gone. */
static size_t settled_count(int what, size_t at_most)
{
	size_t n = state_count(what);

	for (int i = 0; i < 50 && n > at_most; i++) {
		scene_sleep_ms(20);
		n = state_count(what);
	}
	return n;
}

void scene_no_growth(void (*round)(void))
{
	static const struct {
		int what;
		const char *name;
	} kinds[] = {
		{STATE_THREADS, "threads"},
		{STATE_DESCRIPTORS, "descriptors"},
		{STATE_CHILDREN, "child processes"},
	};
	enum { ROUNDS = 5, N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };
	size_t before[N_KINDS];

	/* What is made once, and kept for the next, is there after the second. */
	round();
	round();
	scene_sleep_ms(50);
	for (int i = 0; i < N_KINDS; i++)
		before[i] = state_count(kinds[i].what);
	for (int i = 0; i < ROUNDS; i++)
		round();
	for (int i = 0; i < N_KINDS; i++) {
		size_t after = settled_count(kinds[i].what, before[i] + ROUNDS - 1);

		if (after >= before[i] + ROUNDS)
			failed("%d instances later there are %zu %s more than before", ROUNDS,
			       after - before[i], kinds[i].name);
	}
}
