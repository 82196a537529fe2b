/* nesting.c - calls in the tasks of calls: B92 to B98.
 *
 * A path such as "loky:2 -" says on which backends the calls of tasks in tasks are made, and with how
 * many workers; - is a call that does not say.  See look_down in ../tasks/acceptance.c. */
#define OWN_WITHOUT_LOOP /* choosing.c has it */
#include "own_backend.h"

#include "acceptance.h"

#include "../tasks/acceptance.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_SIGHTS = 24, MOST_NAMES = 64 };

/* --- looking down ------------------------------------------------------------------------------- */

static struct acceptance_sight sights[MOST_SIGHTS];

static int32_t give_path(void *user, par_item *item)
{
	const char **path = user;

	if (*path == NULL)
		return 0;
	item->payload = *path;
	item->n_bytes = strlen(*path) + 1;
	item->stays = 1;
	*path = NULL;
	return 1;
}

static int32_t take_sights(void *user, const par_outcome *outcome)
{
	(void)user;
	if (outcome->status == PAR_OK && outcome->n_bytes <= sizeof(sights))
		memcpy(sights, outcome->bytes, outcome->n_bytes);
	return 0;
}

static const par_task *look_down_task;

static const par_task *look_down_once_found(void)
{
	if (look_down_task == NULL)
		look_down_task = task("look_down");
	return look_down_task;
}

/* What a task of a call with these settings sees, and those of the calls in it. */
static void look_down(const par_settings *settings, const char *path)
{
	memset(sights, 0, sizeof(sights));
	MUST(par_run(NULL, look_down_once_found(), give_path, take_sights, &path, settings, &error));
	EXPECT(sights[0].pid != 0, "the task has not replied");
}

/* Of all calls that were made in tasks, which must have been made. */
static void expect_calls(int n)
{
	for (int i = 0; i < n; i++)
		EXPECT(sights[i].code == PAR_OK && sights[i].backend[0] != '\0',
		       "call %d, on \"%s\": %s: %s", i + 1, sights[i].backend,
		       par_code_name(sights[i].code), sights[i].words);
	EXPECT(sights[n].pid != 0 && sights[n].backend[0] == '\0', "there is another call");
}

static void expect_no_warning(int n)
{
	for (int i = 0; i < n; i++)
		EXPECT(sights[i].warnings == 0, "call %d, on %s, warns: %s", i + 1, sights[i].backend,
		       sights[i].words);
	EXPECT(strstr(printed(), "cannot be") == NULL, "a warning: %s", printed());
}

/* --- those that there are ----------------------------------------------------------------------- */

static char names[MOST_NAMES][64];
static int n_names;

static int32_t add_name(void *user, const par_backend_info *info)
{
	(void)user;
	if (info->state != PAR_STATE_BROKEN && n_names < MOST_NAMES)
		(void)snprintf(names[n_names++], sizeof(names[0]), "%s", info->name);
	return 0;
}

/* What can be named and had. */
static void find_names(void)
{
	int n = 0;

	n_names = 0;
	MUST(par_each_backend(add_name, NULL, &error));
	for (int i = 0; i < n_names; i++)
		if (par_effective_n_jobs(names[i], 2, &error) > 0)
			memmove(names[n++], names[i], sizeof(names[0]));
	n_names = n;
	EXPECT(n > 0, "there is no backend");
}

/* joblib's rules are about these. */
static int is_of_joblib(void)
{
	static const char *const known[] = {"sequential", "threading", "multiprocessing", "loky"};

	for (int i = 0; i < 4; i++)
		if (strcmp(backend, known[i]) == 0)
			return 1;
	return 0;
}

/* --- warnings ----------------------------------------------------------------------------------- */

static void *call_apart(void *arg)
{
	uint64_t in[20], out[20] = {0};
	par_parallel *pool = NULL;
	int32_t code = par_open(&pool, ON(.n_jobs = PAR_SET(2)), NULL);

	EXPECT(code == PAR_OK, "cannot open: %s", par_code_name(code));
	EXPECT_INT(2, par_n_jobs(pool));
	EXPECT_TEXT(backend, par_backend_name(pool));
	for (uint64_t i = 0; i < 20; i++)
		in[i] = i;
	code = par_map(pool, arg, in, out, 20, NULL, NULL);
	EXPECT(code == PAR_OK, "cannot map: %s", par_code_name(code));
	expect_mixed(in, out, 20);
	par_close(pool);
	return NULL;
}

BEHAVIOUR(92, WITH_WORKERS, "a thread of the program's, outside of any task, may use processes like "
                            "the first, without a warning")
{
	void *mix = (void *)(uintptr_t)task("mix");
	pthread_t thread;

	EXPECT_INT(0, pthread_create(&thread, NULL, call_apart, mix));
	pthread_join(thread, NULL);
	EXPECT(strstr(printed(), "-backed parallel loops") == NULL, "a warning: %s", printed());
}

/* --- who in whom -------------------------------------------------------------------------------- */

static const struct acceptance_nest *nest_in(const char *child)
{
	static struct acceptance_nest nest;

	(void)snprintf(nest.backend, sizeof(nest.backend), "%s", child);
	(void)snprintf(nest.folder, sizeof(nest.folder), "%s", getenv("TMPDIR"));
	return &nest;
}

#define NEST(child)                                                                             \
	.shared = nest_in(child), .shared_size = sizeof(struct acceptance_nest),                \
	.batch_size = PAR_SET(1)

/* More tasks than workers, and in each of them too. */
static void expect_pair(const char *child)
{
	uint64_t in[4] = {0, 10, 20, 30}, out[4] = {0};

	MUST(par_map(NULL, task("sum_below"), in, out, 4, ON(.n_jobs = PAR_SET(2), NEST(child)), &error));
	for (int i = 0; i < 4; i++) {
		uint64_t sum = 0;

		for (uint64_t k = in[i]; k < in[i] + 4; k++)
			sum += k * k;
		EXPECT(out[i] == sum, "%s in %s: out[%d] is %llu, not %llu", child, backend, i,
		       (unsigned long long)out[i], (unsigned long long)sum);
	}
}

BEHAVIOUR(93, EVERY_BACKEND, "calls on every backend in tasks on every backend come to an end, with "
                             "more tasks than workers in each")
{
	find_names();
	for (int i = 0; i < n_names; i++)
		expect_pair(names[i]);
}

BEHAVIOUR(94, WITH_WORKERS, "a call in a task that does not say is on threads of the same process, "
                            "and has one worker")
{
	if (!is_of_joblib())
		leave_out("others may have an answer of their own");
	look_down(ON(.n_jobs = PAR_SET(2)), "-");
	expect_calls(1);
	EXPECT_INT(1, sights[0].n_jobs);
	EXPECT_INT(sights[0].pid, sights[1].pid);
	expect_no_warning(1);
	/* One thread is sequential; who wants two sees what they are. */
	look_down(ON(.n_jobs = PAR_SET(2)), "-:2");
	expect_calls(1);
	EXPECT_TEXT("threading", sights[0].backend);
	EXPECT_INT(sights[0].pid, sights[1].pid);
}

BEHAVIOUR(95, EVERY_BACKEND, "a call on sequential changes nothing for the calls in it: backend, "
                             "n_jobs, level and warnings are what they were outside")
{
	static struct acceptance_sight outside[2];
	int32_t n_jobs = par_effective_n_jobs(backend, 2, &error);

	MUST(par_context_push(PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(2)), NULL, &error));
	look_down(NULL, "-");
	memcpy(outside, sights, sizeof(outside));
	look_down(PAR_SETTINGS(.backend = "sequential", .n_jobs = PAR_SET(1)), "- -");
	expect_calls(2);
	EXPECT_INT(getpid(), sights[0].pid);
	EXPECT_TEXT(backend, sights[0].backend);
	EXPECT_INT(n_jobs, sights[0].n_jobs);
	EXPECT_TEXT(outside[0].backend, sights[1].backend);
	EXPECT_INT(outside[0].n_jobs, sights[1].n_jobs);
	expect_no_warning(2);
	MUST(par_context_pop(NULL, &error));
	MUST(par_register_backend("own", own_factory, OWN_NOTE, 0, &error));
	look_down(PAR_SETTINGS(.backend = "sequential"), "own");
	EXPECT_INT(0, own.call.level);
}

/* --- levels ------------------------------------------------------------------------------------- */

/* What a call of this thread is told, by a backend of ours. */
static int level_here(void)
{
	look_down(PAR_SETTINGS(.backend = "own"), "");
	return own.call.level;
}

BEHAVIOUR(96, EVERY_BACKEND, "calls are at level 0 at the top, and in tasks X at level 0 is followed "
                             "by threading at 1, and sequential at 2 and below")
{
	static const char *const types[] = {"threading", "sequential", "sequential", "sequential"};

	find_names();
	MUST(par_register_backend("own", own_factory, OWN_NOTE, 0, &error));
	EXPECT_INT(0, level_here());
	for (int i = 0; i < n_names; i++) {
		char path[96];

		(void)snprintf(path, sizeof(path), "%.63s:2", names[i]);
		look_down(ON(.n_jobs = PAR_SET(2)), path);
		expect_calls(1);
		EXPECT_INT(1, sights[0].level);
		EXPECT_INT(2, sights[1].level);
	}
	if (!is_of_joblib())
		leave_out("others may have an answer of their own");
	if (!is_backend(WITH_WORKERS))
		return; /* it changes nothing: B95 */
	look_down(ON(.n_jobs = PAR_SET(2)), "-:2 -:2 -:2 -:2");
	expect_calls(4);
	for (int i = 0; i < 4; i++) {
		EXPECT_TEXT(types[i], sights[i].backend);
		EXPECT_INT(i + 1, sights[i].level);
	}
	EXPECT_INT(0, level_here());
}

/* --- hooks -------------------------------------------------------------------------------------- */

static int square_by_square(const int64_t *in, int64_t *out)
{
	*out = *in * *in;
	return 0;
}
PAR_TASK(square_by_square, int64_t, int64_t)

static int call_others(par_env *env, const int64_t *in, int64_t *out)
{
	const char *names_of_others[] = {"threading", "sequential", NULL};
	int64_t values[4] = {*in, *in + 1, *in + 2, *in + 3}, squares[4];

	for (int i = 0; i < 3; i++) {
		int32_t code = par_map(NULL, &par_task_square_by_square, values, squares, 4,
		                       PAR_SETTINGS(.backend = names_of_others[i], .n_jobs = PAR_SET(2)),
		                       NULL);

		if (code != PAR_OK)
			return par_fail_task(env, 1, "a call on %s: %s",
			                     names_of_others[i] != NULL ? names_of_others[i] : "any",
			                     par_code_name(code));
	}
	*out = squares[3];
	return 0;
}
PAR_TASK_ENV(call_others, int64_t, int64_t)

BEHAVIOUR(98, NO_BACKEND, "a backend hears once a call that results are waited for, and nothing of "
                          "calls on other backends in its tasks")
{
	par_parallel *pool;
	int64_t in[8] = {0, 1, 2, 3, 4, 5, 6, 7}, out[8];

	MUST(par_configure(NULL, &error));
	MUST(par_register_backend("own", own_factory, OWN_NOTE, 0, &error));
	MUST(par_map(NULL, &par_task_call_others, in, out, 8,
	             PAR_SETTINGS(.backend = "own", .n_jobs = PAR_SET(2)), &error));
	EXPECT_INT(1, own.enters);
	EXPECT_INT(1, own.exits);
	MUST(par_open(&pool, PAR_SETTINGS(.backend = "own", .n_jobs = PAR_SET(2)), &error));
	for (int i = 0; i < 3; i++) {
		EXPECT_INT(1 + i, own.enters);
		MUST(par_map(pool, &par_task_call_others, in, out, 8, NULL, &error));
		EXPECT_INT(2 + i, own.exits);
	}
	par_close(pool);
	EXPECT_INT(4, own.enters);
	EXPECT_INT(4, own.exits);
}
