/* rules_threads.c - who may call what on which thread, and what threads leave alone. */
#include "rules.h"
#include "scene.h"
#include "state.h"
#include "verdict.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static void leaves_signals_alone(void)
{
	char *before, *change;

	scene_begin();
	before = state_now(STATE_DISPOSITIONS | STATE_MASK);
	scene_exercise();
	change = state_changed(before, STATE_DISPOSITIONS | STATE_MASK);
	if (change != NULL)
		failed("after a call there is %s%s", change[0] == '+' ? "" : "no more: ", change + 1);
}

/* Who is still at it has a moment to show himself. */
static void leaves_its_host_alone(void)
{
	scene_begin();
	for (int i = 0; scene_goes_on(i, 1, 5); i++)
		scene_exercise();
	scene_sleep_ms(300);
}

static _Atomic int is_over;

static void *ask(void *first)
{
	do
		if (guard_effective_n_jobs(2) != *(const int32_t *)first)
			failed("effective_n_jobs(2) is not the same on another thread, during a call");
	while (!is_over);
	return NULL;
}

static void can_be_asked_at_any_time(void)
{
	enum { THREADS = 3 };
	pthread_t threads[THREADS];
	par_parallel *pool;
	int32_t first;

	scene_begin();
	pool = scene_open(2);
	if (guard_seen.last == NULL)
		skipped("another backend stands in for it");
	first = guard_effective_n_jobs(2);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, ask, &first) != 0)
			skipped("there is no thread to be had");
	for (int i = 0; scene_goes_on(i, 3, 20); i++)
		scene_map(pool, 50, 1);
	is_over = 1;
	for (int i = 0; i < THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	par_close(pool);
}

static void check_pace(const char *function, double typical_ms)
{
	enum { SOON_MS = 10 };
	static const char *const may_last[] = {"create", "configure", "terminate", "destroy"};

	for (size_t i = 0; i < sizeof(may_last) / sizeof(may_last[0]); i++)
		if (strcmp(function, may_last[i]) == 0)
			return;
	if (strcmp(function, "submit") == 0 && scene_can("runs_inline"))
		return;
	if (typical_ms > SOON_MS)
		doubtful("T7", "%s() takes %.0f ms, and nothing else happens on its loop meanwhile", function,
		         typical_ms);
}

static void returns_soon(void)
{
	par_parallel *pool;

	scene_begin();
	pool = scene_open(2);
	for (int i = 0; scene_goes_on(i, 3, 20); i++)
		scene_map(pool, 50, 1);
	par_close(pool);
	guard_each_pace(check_pace);
}

const struct rule rules_threads[] = {
	{"T1", "what is marked [loop] is called on the loop's thread", scene_all_of_it},
	{"T2", "batches are run on other threads than the loop's", scene_all_of_it},
	{"T3", "its threads block all signals", scene_all_of_it},
	{"T4", "it leaves signals as they are", leaves_signals_alone},
	{"T5", "nothing of it goes on after destroy()", leaves_its_host_alone},
	{"T6", "effective_n_jobs() can be asked on any thread, at any time", can_be_asked_at_any_time},
	{"T7", "what is marked [loop] returns soon", returns_soon},
	{NULL, NULL, NULL},
};
