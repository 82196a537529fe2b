/* rules_behaviour.c - what becomes of batches, whatever happens around them. */
#include "rules.h"
#include "scene.h"
#include "verdict.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <poll.h>
#include <unistd.h>

static void runs_every_task(void)
{
	/* Many; where each is a process from the start, as on an MPI, fewer. */
	const int64_t jobs[] = {1, 2, -1, scene_can("elsewhere") ? 8 : 100};
	static const int64_t batch_sizes[] = {PAR_AUTO, 1, 7};

	scene_begin();
	for (size_t j = 0; j < sizeof(jobs) / sizeof(jobs[0]); j++) {
		par_parallel *pool = scene_open(jobs[j]);

		for (size_t b = 0; b < sizeof(batch_sizes) / sizeof(batch_sizes[0]); b++) {
			scene_map(pool, 0, batch_sizes[b]);
			scene_map(pool, 17, batch_sizes[b]);
			scene_map(pool, scene_goes_on(0, 0, 1) ? SCENE_TASKS : 40, batch_sizes[b]);
		}
		scene_fail(pool);
		par_close(pool);
	}
}

static void gives_every_batch_back(void)
{
	par_parallel *pool;

	scene_begin();
	pool = scene_open(2);
	scene_about("B1");
	for (int i = 0; scene_goes_on(i, 3, 300); i++)
		scene_map(pool, 50, 1);
	scene_fail(pool);
	scene_about("B5");
	scene_cancel(pool, 10);
	par_close(pool);
}

static void can_be_aborted(void)
{
	par_parallel *pool;

	scene_begin();
	pool = scene_open(2);
	for (int i = 0; i < 3; i++) {
		scene_cancel(pool, 30);
		scene_map(pool, scene_goes_on(0, 0, 1) ? 200 : 40, 1);
	}
	par_close(pool);
}

static void one_short_life(void)
{
	par_parallel *pool = scene_open(2);

	scene_map(pool, 50, 1);
	par_close(pool);
}

static void can_be_terminated_twice(void)
{
	scene_begin();
	guard_plan.terminates_twice = 1;
	for (int i = 0; i < 3; i++)
		one_short_life();
}

static void fail_to_configure(void)
{
	par_error error;
	par_parallel *pool = scene_try(2, NULL, &error);

	if (pool != NULL)
		skipped("its configure() answers PAR_PENDING, or it has none");
}

static void survives_a_failed_configure(void)
{
	scene_begin();
	par_close(scene_open(2));
	guard_plan.configure_fails = 1;
	scene_no_growth(fail_to_configure);
	guard_plan.configure_fails = 0;
	one_short_life();
}

static void leaves_nothing(void)
{
	scene_begin();
	scene_no_growth(one_short_life);
}

static void survives_a_crash(void)
{
	par_parallel *pool;

	if (!scene_can("survives_crash"))
		skipped("its note does not say survives_crash");
	scene_begin();
	pool = scene_open(2);
	scene_lose(pool, SCENE_CRASHES);
	scene_map(pool, 100, 1);
	par_close(pool);
}

static void kills_what_is_stuck(void)
{
	par_parallel *pool;

	if (!scene_can("can_kill"))
		skipped("its note does not say can_kill");
	scene_begin();
	pool = scene_open(2);
	if (!guard_has_kill())
		failed("its note says can_kill, but it has no operation kill");
	scene_lose(pool, SCENE_IS_STUCK);
	scene_map(pool, 100, 1);
	par_close(pool);
}

static void nests(void)
{
	par_parallel *pool;

	scene_begin();
	pool = scene_open(2);
	scene_nest(pool);
	par_close(pool);
}

/* A child of the program's that ends as children do. */
static void fork_and_end(void)
{
	enum { LIMIT_MS = 5000 };
	struct pollfd ended = {.events = POLLIN};
	pid_t pid = fork();
	int status;

	if (pid == 0)
		exit(0);
	ended.fd = pid > 0 ? pidfd_open(pid, 0) : -1;
	if (ended.fd < 0)
		skipped("there is no process to be had");
	if (poll(&ended, 1, LIMIT_MS) == 0) {
		(void)kill(pid, SIGKILL);
		failed("a child of fork(), which only ends, has not done so after %d ms", LIMIT_MS);
	}
	(void)close(ended.fd);
	(void)waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		failed("a child of fork(), which only ends, crashes: SIG%s", sigabbrev_np(WTERMSIG(status)));
}

static void bears_a_fork(void)
{
	par_parallel *pool;

#ifdef __SANITIZE_ADDRESS__
	skipped("AddressSanitizer has locks of its own that a fork beside threads does not bear");
#endif
	scene_begin();
	fork_and_end();
	pool = scene_open(2);
	fork_and_end();
	scene_map(pool, 200, 1);
	fork_and_end();
	scene_map(pool, 200, 1);
	par_close(pool);
	fork_and_end();
}

static void *live(void *unused)
{
	for (int i = 0; scene_goes_on(i, 2, 10); i++) {
		par_error error;
		par_parallel *pool = scene_try(2, NULL, &error);

		if (pool == NULL)
			failed("the second of two pools does not come up: %s; %s", error.what, error.reason);
		for (int k = 0; scene_goes_on(k, 1, 5); k++)
			if (scene_run(pool, &error) < 0)
				failed("with two pools a map fails: %s; %s", error.what, error.reason);
		par_close(pool);
	}
	return unused;
}

static void serves_two_at_once(void)
{
	pthread_t thread;

	scene_begin();
	par_close(scene_open(2));
	if (pthread_create(&thread, NULL, live, NULL) != 0)
		skipped("there is no thread to be had");
	(void)live(NULL);
	(void)pthread_join(thread, NULL);
}

static void sizes_its_batches(void)
{
	scene_begin();
	scene_exercise();
	if (guard_seen.batch_sizes == 0)
		skipped("it has no operation compute_batch_size");
}

const struct rule rules_behaviour[] = {
	{"B1", "every task is run once, with any number of jobs", runs_every_task},
	{"B2", "every batch is given back", gives_every_batch_back},
	{"B3", "no batch is given back that is not out", scene_all_of_it},
	{"B4", "a batch is given back with a status of its kind, or was not taken", scene_all_of_it},
	{"B5", "a call can be aborted, and the next one runs", can_be_aborted},
	{"B6", "it can be terminated twice", can_be_terminated_twice},
	{"B7", "what configure() made is gone if it failed", survives_a_failed_configure},
	{"B8", "an instance that is destroyed leaves nothing running", leaves_nothing},
	{"B9", "it runs batches where its note says", scene_all_of_it},
	{"B10", "a task that crashes costs itself alone, if its note says so", survives_a_crash},
	{"B11", "a task that is stuck is killed, if its note says so", kills_what_is_stuck},
	{"B12", "a task may run a loop of its own", nests},
	{"B13", "the program may fork", bears_a_fork},
	{"B14", "two instances work at once", serves_two_at_once},
	{"B15", "compute_batch_size() is at least 1", sizes_its_batches},
	{NULL, NULL, NULL},
};
