/* scene.h - what the tests of the rules have in common: the plugin, pools on it, jobs for them.
 *
 * Whatever goes wrong here ends the test, and its process. */
#ifndef CHECK_SCENE_H
#define CHECK_SCENE_H

#include "guard.h"
#include "plugin.h"

#include <parloop/parloop.h>

#include <stdint.h>

/* What goes wrong from here on breaks that rule; NULL: the one that the test is about. */
void scene_about(const char *rule);

/* What is checked. */
struct subject {
	struct plugin *plugin;
	const char *backend;        /* of it; NULL: the test is about the file   */
	const char *const *options; /* "key=value", ends in NULL; NULL: none     */
	int limit_s;                /* that a test may take                      */
};
extern struct subject subject;

enum { SCENE_TASKS = 1000 };

/* Open the module that has the tasks, for this process and those forked from it. */
int32_t scene_open_tasks(par_error *error);

/* The host that the core shows to factories. */
const par_host *scene_factory_host(void);

/* Load the plugin into this process. */
void scene_load(void);

/* The same, and offer it to the core through the guard. */
void scene_begin(void);

int scene_can(const char *capability);

/* Is there to be another round, of which that many are over?  A backend whose calls take long has as
 * many as its time allows, but at_least so many. */
int scene_goes_on(int round, int at_least, int at_most);

/* What its pools, and no others, are to have. */
void scene_as_default(void);

/* A pool on it.  Skips the test if it cannot be had here. */
par_parallel *scene_open(int64_t n_jobs);

/* With one more option; NULL and why, if it does not come up. */
par_parallel *scene_try(int64_t n_jobs, const char *option, par_error *error);

/* A map of n tasks, whose results are looked at. */
void scene_map(par_parallel *pool, int n, int64_t batch_size);

/* A map that may fail, as long as it says why. */
int32_t scene_run(par_parallel *pool, par_error *error);

/* A map in which one of 100 tasks fails, and is to be reported. */
void scene_fail(par_parallel *pool);

/* A call of long tasks that another thread cancels after some milliseconds. */
void scene_cancel(par_parallel *pool, int after_ms);

/* All of it, on a pool of its own; and as a test, of what can be seen of any call. */
void scene_exercise(void);
void scene_all_of_it(void);

/* A map of tasks of which the one in the middle crashes, or is stuck: its status is to be that, and
 * of all others PAR_OK. */
enum scene_task {
	SCENE_MIXES,
	SCENE_IS_PICKY,
	SCENE_TAKES_LONG,
	SCENE_CRASHES,
	SCENE_IS_STUCK,
	SCENE_NESTS
};
void scene_lose(par_parallel *pool, enum scene_task kind);

/* A map of tasks that map themselves. */
void scene_nest(par_parallel *pool);

/* Do that again and again: threads, descriptors and children must not become more. */
void scene_no_growth(void (*round)(void));

void scene_sleep_ms(int ms);

#endif
