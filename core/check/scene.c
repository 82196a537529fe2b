#include "scene.h"

#include "lend.h"
#include "state.h"
#include "tasks.h"
#include "verdict.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct subject subject;

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

/* --- tasks: a module, which workers find by its path ------------------------------------------- */

static struct {
	const char *name;
	const par_task *task;
} tasks[] = {
	[SCENE_MIXES] = {"check_mix", NULL},       [SCENE_IS_PICKY] = {"check_picky", NULL},
	[SCENE_TAKES_LONG] = {"check_long", NULL}, [SCENE_CRASHES] = {"check_crash", NULL},
	[SCENE_IS_STUCK] = {"check_stuck", NULL},  [SCENE_NESTS] = {"check_nested", NULL},
};

/* It lies beside libparloop, wherever that is. */
static char *find_module(void)
{
	const void *in_library = dlsym(RTLD_DEFAULT, "par_module_open");
	char *path = NULL;
	Dl_info info;
	int folder;

	if (in_library == NULL || dladdr(in_library, &info) == 0)
		return NULL;
	folder = (int)(strrchr(info.dli_fname, '/') + 1 - info.dli_fname);
	return asprintf(&path, "%.*sparloop-check/tasks.so", folder, info.dli_fname) < 0 ? NULL : path;
}

int32_t scene_open_tasks(par_error *error)
{
	char *path = find_module();
	par_module *module;
	int32_t status = path != NULL ? par_module_open(&module, path, error)
	                              : par_fail(error, PAR_ENOMEM, "no memory");

	for (size_t i = 0; status == PAR_OK && i < sizeof(tasks) / sizeof(tasks[0]); i++)
		status = par_module_task(module, tasks[i].name, &tasks[i].task, error);
	free(path);
	return status;
}

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

static time_t began;

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

int scene_goes_on(int round, int at_least, int at_most)
{
	enum { ENOUGH_S = 1 };

	return round < at_least || (round < at_most && now_s() - began < ENOUGH_S);
}

void scene_begin(void)
{
	par_error error = PAR_ERROR_INIT;

	began = now_s();
	scene_load();
	lend_watch();
	if (guard_register(subject.plugin, subject.backend, &error) < 0)
		failed("%s; %s", error.what, error.reason);
}

int scene_can(const char *capability)
{
	return plugin_can(subject.plugin, subject.backend, capability);
}

void scene_as_default(void)
{
	par_error error = PAR_ERROR_INIT;

	if (par_context_push(PAR_SETTINGS(.backend = subject.backend, .options = subject.options), NULL,
	                     &error) < 0)
		failed("%s; %s", error.what, error.reason);
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
		if (out[i] != tasks_mixed(in[i]))
			WRONG("task %d of %d has a wrong result, or never ran", i, n);
}

void scene_map(par_parallel *pool, int n, int64_t batch_size)
{
	par_error error = PAR_ERROR_INIT;

	for (int i = 0; i < n; i++) {
		in[i] = (uint64_t)i;
		out[i] = 0;
	}
	if (par_map(pool, tasks[SCENE_MIXES].task, in, out, (uint64_t)n,
	            PAR_SETTINGS(.batch_size = {1, batch_size}), &error) < 0)
		WRONG("a map of %d tasks fails: %s; %s", n, error.what, error.reason);
	expect_all(n);
}

int32_t scene_run(par_parallel *pool, par_error *error)
{
	uint64_t values[50];

	for (uint64_t i = 0; i < 50; i++)
		values[i] = i;
	return par_map(pool, tasks[SCENE_MIXES].task, values, values, 50, NULL, error);
}

void scene_fail(par_parallel *pool)
{
	par_error error = PAR_ERROR_INIT;
	int32_t status;

	for (int i = 0; i < 100; i++)
		in[i] = (uint64_t)i;
	in[50] += TASKS_BAD;
	status = par_map(pool, tasks[SCENE_IS_PICKY].task, in, out, 100, NULL, &error);
	if (status != PAR_EFAILED || error.task != 50 || error.task_code != TASKS_CODE)
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
	status = par_map(pool, tasks[SCENE_TAKES_LONG].task, in, out, 16, PAR_SETTINGS(.batch_size = PAR_SET(1)),
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
	for (int i = 0; scene_goes_on(i, 2, 10); i++)
		scene_map(pool, 40, 1);
	scene_fail(pool);
	scene_about("B5");
	scene_cancel(pool, 20);
	scene_map(pool, 100, 7);
	par_close(pool);
	scene_about(NULL);
}

void scene_all_of_it(void)
{
	scene_begin();
	scene_exercise();
}

void scene_lose(par_parallel *pool, enum scene_task kind)
{
	int32_t statuses[20], wanted = kind == SCENE_CRASHES ? PAR_ELOST : PAR_ETIMEOUT;
	par_error error = PAR_ERROR_INIT;

	for (int i = 0; i < 20; i++)
		in[i] = (uint64_t)i;
	in[10] = TASKS_SPECIAL;
	(void)par_map(pool, tasks[kind].task, in, out, 20,
	              PAR_SETTINGS(.on_error = PAR_COLLECT, .statuses = statuses,
	                           .batch_size = PAR_SET(1), .task_timeout = PAR_SET(0.5)),
	              &error);
	for (int i = 0; i < 20; i++)
		if (statuses[i] != (i == 10 ? wanted : PAR_OK))
			WRONG("task 10 of 20 %s, and task %d ends with %s: %s; %s",
			       kind == SCENE_CRASHES ? "crashes" : "is stuck", i, par_code_name(statuses[i]),
			       error.what, error.reason);
}

/* Calls inside of tasks may be made on an engine as well, which each of them has to reach. */
void scene_nest(par_parallel *pool)
{
	uint64_t n = scene_can("elsewhere") ? 4 : 20;
	par_error error = PAR_ERROR_INIT;

	for (uint64_t i = 0; i < n; i++)
		in[i] = i;
	if (par_map(pool, tasks[SCENE_NESTS].task, in, out, n, NULL, &error) < 0)
		WRONG("%s; %s", error.what, error.reason);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t sum = 0;

		for (uint64_t k = 0; k < TASKS_INNER; k++)
			sum += tasks_mixed(i + k);
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
