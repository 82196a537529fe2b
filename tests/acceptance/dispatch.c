/* dispatch.c - how tasks are taken, bundled and sent: B26 to B35, B43 and B50. */
#include "acceptance.h"

#include "../tasks/acceptance.h"
#include "../tasks/conformance.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>

/* --- one job ---------------------------------------------------------------------------------- */

/* P: produced, C: consumed, in the order in which that was. */
struct rhythm {
	struct count count;
	char text[32];
};

static int32_t give_and_note(void *user, par_item *item)
{
	struct rhythm *rhythm = user;
	int32_t got = give_count(&rhythm->count, item);

	if (got == 1)
		strcat(rhythm->text, "P");
	return got;
}

static int32_t note(void *user, const par_outcome *outcome)
{
	struct rhythm *rhythm = user;

	(void)outcome;
	strcat(rhythm->text, "C");
	return 0;
}

static void expect_rhythm(const char *expected, int64_t batch_size)
{
	struct rhythm rhythm = {.count = {.n = 6}};

	MUST(par_run(NULL, task("mix"), give_and_note, note, &rhythm,
	             ON(.n_jobs = PAR_SET(1), .batch_size = {1, batch_size}), &error));
	EXPECT_TEXT(expected, rhythm.text);
}

static int32_t look_inline(void *runs_inline, const par_backend_info *info)
{
	*(int *)runs_inline = strstr(info->capabilities, "runs_inline") != NULL;
	return 0;
}

/* Who asks for one worker gets the caller's own thread. */
static void expect_inline(void)
{
	par_parallel *pool = open_n(1);
	int runs_inline = 0;

	MUST(par_show_backend(par_backend_name(pool), look_inline, &runs_inline, &error));
	if (!runs_inline)
		leave_out("%s has a worker beside the caller, who gives it tasks ahead", backend);
	par_close(pool);
}

BEHAVIOUR(26, EVERY_BACKEND, "with n_jobs 1 as many are produced as make a batch, then consumed "
                             "(ours: if they run on the caller's thread)")
{
	expect_inline();
	expect_rhythm("PCPCPCPCPCPC", 1);
	expect_rhythm("PPPPCCCCPPCC", 4);
}

/* --- what is taken before anything is over ---------------------------------------------------- */

static int marks(void)
{
	DIR *dir = opendir(getenv("TMPDIR"));
	struct dirent *entry;
	int n = 0;

	EXPECT(dir != NULL, "no folder");
	while ((entry = readdir(dir)) != NULL)
		n += strncmp(entry->d_name, "mark-", 5) == 0;
	closedir(dir);
	return n;
}

/* The fourth task is taken: one of the first three has left its mark. */
static int32_t give_and_look(void *user, par_item *item)
{
	struct count *count = user;

	if (count->given == 3)
		EXPECT_BETWEEN(1, 3, marks());
	return give_count(count, item);
}

BEHAVIOUR(27, EVERY_BACKEND, "with pre_dispatch 3 the fourth task is taken after some task was run")
{
	struct count count = {.n = 6};
	const char *folder = getenv("TMPDIR");

	MUST(par_run(NULL, task("leave_mark"), give_and_look, NULL, &count,
	             ON(.n_jobs = PAR_SET(2), .pre_dispatch = "3", .batch_size = PAR_SET(1),
	                .shared = folder, .shared_size = strlen(folder) + 1), &error));
	EXPECT_INT(6, marks());
}

/* --- batches ---------------------------------------------------------------------------------- */

enum { TINY = 5000 };

/* How many were run together, of tiny tasks: of the first piece, and at most. */
static void run_tiny(par_parallel *pool, uint64_t *first, uint64_t *most)
{
	static uint64_t in[TINY], out[TINY];

	MUST(par_map(pool, task("together"), in, out, TINY,
	             pool != NULL ? NULL : ON(.n_jobs = PAR_SET(2)), &error));
	*first = out[0];
	*most = 0;
	for (int i = 0; i < TINY; i++)
		*most = out[i] > *most ? out[i] : *most;
}

BEHAVIOUR(28, WITH_THREADS,
          "threads bundle 5000 tiny tasks as well (ours: joblib's batches stay at 1 there)")
{
	uint64_t first, most;

	run_tiny(NULL, &first, &most);
	EXPECT_BETWEEN(2, TINY, most);
}

BEHAVIOUR(29, WITH_PROCESSES, "processes bundle 5000 tiny tasks")
{
	uint64_t first, most;

	run_tiny(NULL, &first, &most);
	EXPECT_BETWEEN(2, TINY, most);
}

BEHAVIOUR(30, EVERY_BACKEND, "a call without a pool begins its batches anew, at 1")
{
	uint64_t first, most;

	for (int i = 0; i < 3; i++) {
		run_tiny(NULL, &first, &most);
		EXPECT_INT(1, first);
		EXPECT_BETWEEN(2, TINY, most);
	}
}

BEHAVIOUR(31, EVERY_BACKEND,
          "a batch_size of 0, -1 or 1.42 is refused, and so it is in plugins.conf")
{
	uint64_t in = 0, out;

	MUST_BE(PAR_ECONFIG, par_configure(write_file("plugins.conf",
	                                              "[parloop]\nbatch_size = 1.42\n"),
	                                   &error));
	EXPECT_CONTAINS("1.42", error.reason);
	for (int i = 0; i > -2; i--) {
		MUST_BE(PAR_EINVAL, par_map(NULL, task("mix"), &in, &out, 1,
		                            ON(.batch_size = PAR_SET(i)), &error));
		EXPECT_CONTAINS("batch_size must be 'auto' or a positive integer, got: ",
		                error.what);
	}
}

struct dispatch_case {
	uint64_t n_tasks;
	int64_t n_jobs;
	const char *pre_dispatch;
	int64_t batch_size;
};

static int32_t take_square(void *user, const par_outcome *outcome)
{
	uint64_t *next = user, square;

	EXPECT_INT(*next, outcome->index);
	memcpy(&square, outcome->bytes, sizeof(square));
	EXPECT_INT(*next * *next, square);
	(*next)++;
	return 0;
}

struct squares {
	struct count count;
	uint64_t next;
};

static int32_t give_to_square(void *user, par_item *item)
{
	return give_count(&((struct squares *)user)->count, item);
}

static int32_t take_from_square(void *user, const par_outcome *outcome)
{
	return take_square(&((struct squares *)user)->next, outcome);
}

BEHAVIOUR(32, EVERY_BACKEND, "any number of tasks, n_jobs, pre_dispatch and batch_size gives the "
                             "exact results in order")
{
	static const struct dispatch_case cases[] = {
		{2, 2, "all", PAR_AUTO},          {2, 2, "n_jobs", PAR_AUTO},
		{10, 2, "n_jobs", PAR_AUTO},      {517, 2, "n_jobs", PAR_AUTO},
		{10, 4, "n_jobs", PAR_AUTO},      {200, 12, "n_jobs", PAR_AUTO},
		{25, 12, "2 * n_jobs", 1},        {250, 12, "all", 1},
		{250, 12, "2 * n_jobs", 7},       {200, 12, "2 * n_jobs", PAR_AUTO},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct squares squares = {.count = {.n = cases[i].n_tasks}};

		MUST(par_run(NULL, task("square"), give_to_square, take_from_square, &squares,
		             ON(.n_jobs = {1, cases[i].n_jobs},
		                .pre_dispatch = cases[i].pre_dispatch,
		                .batch_size = {1, cases[i].batch_size}), &error));
		EXPECT_INT(cases[i].n_tasks, squares.next);
	}
}

static int32_t run_pre_dispatch(par_parallel *pool, const char *expression)
{
	struct count count = {.n = 30};

	error = (par_error)PAR_ERROR_INIT;
	return par_run(pool, task("mix"), give_count, NULL, &count,
	               PAR_SETTINGS(.pre_dispatch = expression), &error);
}

BEHAVIOUR(33, WITH_WORKERS, "pre_dispatch is arithmetic in n_jobs, within limits, and nothing else")
{
	static const char *const good[] = {
		"2*6", "2**6", "1 + 2 * 3 ** (4 % 7) - 6 // 2", "(1 + 2) * 3",
		"n_jobs", "1.5*n_jobs", "-(-n_jobs)", "all", "7"};
	static const char *const bad[] = {
		"exec('import os')", "print(1)", "max(1, 2)", "2 ^ 6", "'2'", "1/0", "1//0", "1%0",
		"10000000", "10 ** 7", "9**9**9", "2 *", "n_job", "",
		"1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1", "0", "-n_jobs"};
	par_parallel *pool = open_n(2);

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int32_t code = run_pre_dispatch(pool, good[i]);

		EXPECT(code == PAR_OK, "\"%s\" is refused: %s: %s", good[i], error.what,
		       error.reason);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int32_t code = run_pre_dispatch(pool, bad[i]);

		EXPECT(code == PAR_ECONFIG, "\"%s\": expected PAR_ECONFIG, got %s", bad[i],
		       par_code_name(code));
		EXPECT_CONTAINS("pre_dispatch", error.what);
	}
	expect_usable(pool);
	par_close(pool);
}

static void expect_empty_list(void)
{
	struct count none = {0};
	par_outcome **outcomes;
	uint64_t n = 1;

	MUST(par_list(NULL, task("square"), give_count, &none, ON(.n_jobs = PAR_SET(2)), &outcomes,
	              &n, &error));
	EXPECT_INT(0, n);
	EXPECT(outcomes != NULL && outcomes[0] == NULL, "the list does not end in NULL");
	par_list_free(outcomes);
}

BEHAVIOUR(34, EVERY_BACKEND, "an input without tasks gives a result without any")
{
	struct squares squares = {.next = 0};

	MUST(par_run(NULL, task("square"), give_to_square, take_from_square, &squares,
	             ON(.n_jobs = PAR_SET(2)), &error));
	EXPECT_INT(0, squares.next);
	MUST(par_map(NULL, task("square"), NULL, NULL, 0, ON(.n_jobs = PAR_SET(2)), &error));
	expect_empty_list();
}

/* --- what fails on the way -------------------------------------------------------------------- */

/* Fails where others end. */
static int32_t give_and_fail(void *user, par_item *item)
{
	int32_t got = give_count(user, item);

	return got == 0 ? -3 : got;
}

BEHAVIOUR(35, EVERY_BACKEND,
          "an input that fails at item 0, 5 or 19 fails the call, and the pool goes on")
{
	static const uint64_t places[] = {0, 5, 19};
	par_parallel *pool = open_n(2);

	for (int i = 0; i < 3; i++) {
		struct count count = {.n = places[i]};

		MUST_BE(PAR_ESOURCE, par_run(pool, task("mix"), give_and_fail, NULL, &count, NULL,
		                             &error));
		EXPECT_INT(places[i], count.given);
		EXPECT_CONTAINS("the source failed", error.what);
		EXPECT_CONTAINS("-3", error.reason);
		expect_usable(pool);
	}
	par_close(pool);
}

static int meet(par_env *env, const int *in, int *out)
{
	struct {
		pthread_barrier_t *barrier;
		int seen[2];
	} *common = *(void *const *)env->shared;

	common->seen[*in] = 1;
	pthread_barrier_wait(common->barrier);
	*out = common->seen[0] + common->seen[1];
	return 0;
}
PAR_TASK_ENV(meet, int, int)

BEHAVIOUR(43, WITH_THREADS, "tasks on threads see what the others change")
{
	pthread_barrier_t barrier;
	struct {
		pthread_barrier_t *barrier;
		int seen[2];
	} common = {&barrier, {0}};
	void *shared = &common;
	int in[2] = {0, 1}, out[2];

	pthread_barrier_init(&barrier, NULL, 2);
	MUST(par_map(NULL, &par_task_meet, in, out, 2,
	             ON(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1), .shared = &shared,
	                .shared_size = sizeof(shared)), &error));
	EXPECT_INT(2, out[0]);
	EXPECT_INT(2, out[1]);
	EXPECT_INT(2, common.seen[0] + common.seen[1]);
	pthread_barrier_destroy(&barrier);
}

BEHAVIOUR(50, EVERY_BACKEND,
          "a failure while more tasks are being sent ends the call with its words")
{
	struct count count = {.n = 30};

	MUST_BE(PAR_EFAILED, par_run(NULL, task("fail_at_seven"), give_count, NULL, &count,
	                             ON(.n_jobs = PAR_SET(2), .pre_dispatch = "16"), &error));
	EXPECT_INT(ACCEPTANCE_BAD, error.task);
	EXPECT_CONTAINS("7 is not liked", error.reason);
}
