/* A call inside a task has a share of the cores, whatever threads and processes are between it and
 * the outermost call.
 *
 * link: -Wl,--wrap=cgroup_visit -rdynamic */
#include "tree.h"

#include "own_backend.h"

#include <parloop/worker.h>

#define T "threading"
#define MP "multiprocessing"
#define FORK MP, "start_method=fork"
#define FORKSERVER MP, "start_method=forkserver"
#define SPAWN MP, "start_method=spawn"
#define LOKY "loky", "idle_worker_timeout=0s"

/* Inside threads, and inside one another. */
#define INNER_LOKY "nested-loky", "idle_worker_timeout=0s"
#define INNER_FORK "nested-multiprocessing", "start_method=fork"
#define INNER_FORKSERVER "nested-multiprocessing", "start_method=forkserver"
#define INNER_SPAWN "nested-multiprocessing", "start_method=spawn"
#define SEQUENTIAL "sequential", ""

static par_error error = PAR_ERROR_INIT;

static const char *words(void)
{
	static char text[2000];

	return par_error_text(&error, 1, text, sizeof(text));
}

/* --- trees --------------------------------------------------------------------------------- */

static const struct {
	int cores;
	struct tree_call calls[TREE_DEEP];
	int n_jobs[3]; /* that each depth has */
} trees[] = {
	/* threads in threads */
	{8, {{T, "", 2, 2}, {T, "", -1, 5}, {T, "", 8, 2}}, {2, 4, 1}},
	{8, {{T, "", -1, 8}, {T, "", -1, 3}, {T, "", 50, 3}}, {8, 1, 1}},
	{8, {{T, "", 3, 4}, {T, "", 2, 4}, {T, "", -1, 2}}, {3, 2, 1}},
	{8, {{T, "", 2, 2}, {T, "", 2, 2}, {T, "", 2, 4}}, {2, 2, 2}},
	{12, {{T, "", 3, 3}, {T, "", -3, 4}, {T, "", 100, 4}}, {3, 2, 2}},
	{12, {{T, "", 2, 4}, {T, "", 6, 12}, {T, "", -1, 2}}, {2, 6, 1}},
	{12, {{T, "", -2, 11}, {T, "", 2, 2}, {T, "", 2, 2}}, {11, 1, 1}},
	{12, {{T, "", 2, 2}, {T, "", 3, 3}, {T, "", 9, 4}}, {2, 3, 2}},
	/* n_jobs unset are 1, and those of the outermost call are its own affair */
	{8, {{T, "", 2, 4}, {"", "", 0, 3}, {"", "", 0, 2}}, {2, 1, 1}},
	{8, {{T, "", 2, 4}, {T, "", 0, 3}, {T, "", -1, 8}}, {2, 1, 4}},
	{8, {{T, "", 11, 11}, {T, "", 2, 3}, {T, "", -1, 2}}, {11, 1, 1}},
	{1, {{T, "", 2, 2}, {T, "", -1, 3}, {T, "", 2, 2}}, {2, 1, 1}},
	/* the calling thread is no worker: its tasks share with nobody */
	{8, {{SEQUENTIAL, 1, 2}, {T, "", -1, 8}, {T, "", 4, 2}}, {1, 8, 1}},
	{8, {{T, "", 2, 2}, {SEQUENTIAL, 7, 2}, {T, "", 7, 4}}, {2, 1, 4}},
	{8, {{T, "", 2, 2}, {T, "", 1, 2}, {T, "", -1, 4}}, {2, 1, 4}},
	/* through processes of every kind */
	{8, {{FORK, 2, 2}, {T, "", -1, 4}, {T, "", 3, 2}}, {2, 4, 1}},
	{8, {{FORKSERVER, 2, 2}, {T, "", 2, 2}, {T, "", 9, 2}}, {2, 2, 2}},
	{8, {{SPAWN, 2, 2}, {T, "", -2, 3}, {T, "", -1, 2}}, {2, 3, 1}},
	{8, {{LOKY, 2, 2}, {T, "", 2, 2}, {T, "", -1, 4}}, {2, 2, 2}},
	{12, {{T, "", 2, 2}, {INNER_LOKY, 3, 3}, {T, "", 12, 2}}, {2, 3, 2}},
	{12, {{LOKY, 2, 2}, {INNER_LOKY, -1, 6}, {T, "", -1, 2}}, {2, 6, 1}},
	{8, {{T, "", 2, 2}, {T, "", 2, 2}, {INNER_LOKY, 40, 3}}, {2, 2, 2}},
	{8, {{FORK, 2, 2}, {INNER_LOKY, 2, 2}, {INNER_SPAWN, -1, 2}}, {2, 2, 2}},
	{8, {{LOKY, 2, 2}, {INNER_FORK, 2, 3}, {INNER_FORKSERVER, 5, 2}}, {2, 2, 2}},
	{8, {{SPAWN, 4, 4}, {INNER_FORKSERVER, 3, 3}, {INNER_LOKY, 2, 2}}, {4, 2, 1}},
};

START_TEST(no_more_leaves_run_at_once_than_there_are_cores)
{
	const int *n_jobs = trees[_i].n_jobs;
	int all = n_jobs[0] * n_jobs[1] * n_jobs[2];

	tree_have_cores(trees[_i].cores);
	ck_assert_int_le(all, trees[_i].cores > n_jobs[0] ? trees[_i].cores : n_jobs[0]);
	tree_grow(trees[_i].calls, 3, all);
	for (int i = 0; i < 3; i++)
		ck_assert_msg(tree->n_jobs[i] == n_jobs[i], "depth %d: n_jobs %d, not %d", i,
		              tree->n_jobs[i], n_jobs[i]);
}
END_TEST

/* Whether it is known to the process that began, or only to its workers. */
START_TEST(a_limit_of_the_cores_is_shared_like_them)
{
	static const struct tree_call calls[][3] = {
		{{T, "", 2, 2}, {T, "", -1, 2}},     {{INNER_FORK, 2, 2}, {T, "", -1, 2}},
		{{FORKSERVER, 2, 2}, {T, "", -1, 2}}, {{INNER_SPAWN, 2, 2}, {T, "", -1, 2}},
		{{LOKY, 2, 2}, {T, "", 9, 2}},        {{T, "", 2, 2}, {INNER_LOKY, 9, 2}},
	};

	tree_have_cores(64);
	setenv("PARLOOP_MAX_CPU_COUNT", "4", 1);
	tree_grow(calls[_i], 2, 4);
	ck_assert_int_eq(tree->n_jobs[1], 2);
}
END_TEST

START_TEST(workers_that_are_kept_hear_of_another_limit)
{
	static const struct tree_call calls[] = {{"loky", "idle_worker_timeout=2s", 2, 2},
	                                         {T, "", -1, 4}};

	tree_have_cores(8);
	tree_grow(calls, 2, 8);
	setenv("PARLOOP_MAX_CPU_COUNT", "4", 1);
	tree_grow(calls, 2, 4);
	ck_assert_int_eq(tree->n_jobs[1], 2);
}
END_TEST

START_TEST(a_worker_with_fewer_cores_than_its_share_has_those)
{
	static const struct tree_call calls[] = {{MP, "env=PARLOOP_MAX_CPU_COUNT=3", 2, 2},
	                                         {T, "", -1, 3}};

	setenv("PARLOOP_START_METHOD", "spawn", 1);
	tree_have_cores(8);
	tree_grow(calls, 2, 6);
	ck_assert_int_eq(tree->n_jobs[1], 3);
}
END_TEST

/* --- insisting ----------------------------------------------------------------------------- */

static void grow_to(const struct tree_call *calls, int leaves, int second, int third)
{
	tree_grow(calls, 3, leaves);
	ck_assert_int_eq(tree->n_jobs[1], second);
	ck_assert_int_eq(tree->n_jobs[2], third);
}

START_TEST(a_call_that_insists_has_more_and_so_have_those_inside)
{
	static const struct tree_call inner[][3] = {
		{{T, "", 2, 2}, {T, "", 3, 3, 1}, {T, "", 2, 2}},
		{{LOKY, 2, 2}, {T, "", 3, 3, 1}, {T, "", 2, 2}},
		{{T, "", 2, 2}, {INNER_LOKY, 3, 3, 1}, {T, "", 2, 2}},
	};
	static const struct tree_call all[][3] = {
		{{T, "", 2, 2, 1}, {T, "", 3, 3}, {T, "", 2, 2}},
		{{LOKY, 2, 2, 1}, {INNER_LOKY, 3, 3}, {T, "", 2, 2}},
		{{FORK, 2, 2, 1}, {T, "", 3, 3}, {INNER_SPAWN, 2, 2}},
	};

	tree_have_cores(2);
	grow_to(inner[_i], 12, 3, 2);
	grow_to(all[_i], 12, 3, 2);
}
END_TEST

START_TEST(until_one_inside_does_not)
{
	static const struct tree_call calls[][3] = {
		{{T, "", 2, 2, 1}, {T, "", 3, 3}, {T, "", 2, 2, -1}},
		{{LOKY, 2, 2, 1}, {T, "", 3, 3}, {T, "", 2, 2, -1}},
		{{T, "", 2, 2, 1}, {INNER_LOKY, 3, 3}, {T, "", 2, 2, -1}},
	};

	tree_have_cores(2);
	grow_to(calls[_i], 6, 3, 1);
}
END_TEST

START_TEST(negative_n_jobs_count_from_the_share_nevertheless)
{
	static const struct tree_call calls[] = {
		{T, "", 2, 2, 1}, {T, "", -1, 4}, {T, "", -2, 2}};

	tree_have_cores(8);
	grow_to(calls, 8, 4, 1);
}
END_TEST

static const struct tree_call plain[] = {{T, "", 2, 2}, {T, "", 2, 2}, {T, "", 3, 3}};

START_TEST(a_context_insists)
{
	par_context *context;

	tree_have_cores(2);
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.oversubscribe = PAR_SET(1)), &context, &error), 0);
	grow_to(plain, 12, 2, 3);
	ck_assert_int_eq(par_context_pop(context, &error), PAR_OK);
	grow_to(plain, 2, 1, 1);
}
END_TEST

START_TEST(the_default_of_the_process_insists)
{
	tree_have_cores(2);
	ck_assert_int_eq(par_set_default(PAR_SETTINGS(.oversubscribe = PAR_SET(1)), &error), PAR_OK);
	grow_to(plain, 12, 2, 3);
	ck_assert_int_eq(par_set_default(NULL, &error), PAR_OK);
	grow_to(plain, 2, 1, 1);
}
END_TEST

START_TEST(plugins_conf_insists)
{
	static const char text[] = "[parloop]\noversubscribe = yes\n";
	static const struct tree_call not[] = {{T, "", 2, 2, -1}, {T, "", 2, 2}, {T, "", 3, 3}};
	static const struct tree_call elsewhere[] = {{LOKY, 2, 2}, {T, "", 2, 2}, {T, "", 3, 3}};

	tree_have_cores(2);
	ck_assert_int_eq(par_configure(scratch_write("insists.conf", text, strlen(text)), &error), PAR_OK);
	grow_to(plain, 12, 2, 3);
	grow_to(elsewhere, 12, 2, 3);
	grow_to(not, 2, 1, 1);
}
END_TEST

START_TEST(to_insist_is_0_or_1)
{
	par_parallel *pool;

	ck_assert_int_eq(par_open(&pool, PAR_SETTINGS(.oversubscribe = PAR_SET(2)), &error), PAR_EINVAL);
	assert_contains(words(), "oversubscribe must be 0 or 1, got: 2");
	ck_assert_int_eq(par_open(&pool, NULL, &error), PAR_OK);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	ck_assert_int_eq(par_map(pool, &par_task_own_square, &(int64_t){3}, &(int64_t){0}, 1,
	                         PAR_SETTINGS(.oversubscribe = PAR_SET(1)), &error), PAR_EINVAL);
	assert_contains(words(), "oversubscribe of an open par_parallel are fixed");
	par_close(pool);
}
END_TEST

/* --- what is said of it -------------------------------------------------------------------- */

static int open_eight(par_env *env, const int *in, int *out)
{
	par_parallel *pool;

	(void)in;
	if (par_open(&pool, PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(8)), &error) < 0)
		return par_fail_task(env, 1, "%s", error.what);
	*out = par_n_jobs(pool);
	par_close(pool);
	return 0;
}
PAR_TASK_ENV(open_eight, int, int)

START_TEST(what_is_capped_is_information)
{
	int in[2] = {0}, out[2];

	tree_have_cores(8);
	ck_assert_int_eq(par_map(NULL, &par_task_open_eight, in, out, 2,
	                         PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(4)), &error), 0);
	ck_assert_int_eq(out[0], 2);
	ck_assert_int_eq(out[1], 2);
	assert_contains(scratch_log, "1 threading: n_jobs=8 inside a task of threading is more than its "
	                             "share of the cores: it is 2 (oversubscribe lifts that)\n");
	ck_assert_ptr_null(strstr(scratch_log, "2 threading: n_jobs"));
	scratch_log[0] = '\0';
	ck_assert_int_eq(par_map(NULL, &par_task_open_eight, in, out, 2,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(4), .oversubscribe = PAR_SET(1)), &error),
	                 0);
	ck_assert_int_eq(out[0], 8);
	ck_assert_ptr_null(strstr(scratch_log, "share"));
}
END_TEST

static int effective(const int *in, int *out)
{
	*out = par_effective_n_jobs("threading", *in, NULL);
	return 0;
}
PAR_TASK(effective, int, int)

START_TEST(effective_n_jobs_knows_of_it)
{
	int in[] = {-1, -2, -9, 1, 3, 4, 5, 100}, out[8], expected[] = {4, 3, 1, 1, 3, 4, 4, 4};
	int32_t code;

	tree_have_cores(8);
	ck_assert_int_eq(par_effective_n_jobs("threading", -1, &error), 8);
	code = par_map(NULL, &par_task_effective, in, out, 8,
	               PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2)), &error);
	ck_assert_msg(code == PAR_OK, "%s", words());
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(out[i], expected[i]);
}
END_TEST

/* --- backends that have their own ideas ---------------------------------------------------- */

static int32_t always_64(par_backend *backend, int32_t n_jobs)
{
	(void)backend, (void)n_jobs;
	return 64;
}

static int32_t answer_64(par_backend *backend, const par_call *call, par_answer *answer,
                         par_error *why)
{
	answer->n_jobs = 64;
	answer->holds = 200;
	return own_configure(backend, call, answer, why);
}

static const par_backend_ops *stubborn_factory(const par_host *host, const char *name)
{
	static par_backend_ops ops[2];
	int which = strcmp(name, "answers") == 0;

	ops[which] = *own_factory(host, name);
	if (which)
		ops[which].configure = answer_64;
	else
		ops[which].effective_n_jobs = always_64;
	return &ops[which];
}

START_TEST(a_backend_that_does_not_care_is_held_to_it)
{
	const char *const names[] = {"stubborn", "answers"};
	struct tree_call calls[] = {{T, "", 2, 2}, {"", "", 4, 9}, {T, "", -1, 2}};

	tree_have_cores(6);
	(void)strcpy(calls[1].backend, names[_i]);
	ck_assert_int_eq(par_register_backend(names[_i], stubborn_factory, OWN_NOTE, 0, &error), PAR_OK);
	tree_grow(calls, 3, 6);
	ck_assert_int_eq(tree->n_jobs[1], 3);
	ck_assert_int_eq(tree->n_jobs[2], 1);
	ck_assert_int_eq(own.call.core_share, 3);
	ck_assert_int_eq(own.call.n_jobs, 4); /* as asked */
	ck_assert_int_eq(own.call.oversubscribe, 0);
}
END_TEST

START_TEST(workers_elsewhere_are_not_counted_and_their_tasks_have_one_core)
{
	static const struct tree_call calls[] = {{T, "", 2, 2}, {"far", "", 5, 5}, {T, "", -1, 2}};

	tree_have_cores(4);
	ck_assert_int_eq(par_register_backend("far", own_factory,
	                                      PAR_CAPABILITIES("shares_memory uses_threads elsewhere"), 0,
	                                      &error), PAR_OK);
	tree_grow(calls, 3, 10);
	ck_assert_int_eq(tree->n_jobs[1], 5);
	ck_assert_int_eq(tree->n_jobs[2], 1);
}
END_TEST

/* --- pools that were opened outside -------------------------------------------------------- */

static par_parallel *outside;
static pthread_t opener;
static _Atomic int inside, most_inside, tasks_inside;

static int count_inside(const int *in, int *out)
{
	int here = atomic_fetch_add(&inside, 1) + 1, most = most_inside;

	while (here > most && !atomic_compare_exchange_weak(&most_inside, &most, here))
		;
	while (most_inside < 2)
		sched_yield();
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
	*out = *in;
	atomic_fetch_sub(&inside, 1);
	atomic_fetch_add(&tasks_inside, 1);
	return 0;
}
PAR_TASK(count_inside, int, int)

static _Atomic int n_there;

/* Both are there, so the opener is one of them, since a thread besides is all that its call has. */
static int use_outside(par_env *env, const int *in, int *out)
{
	int values[12] = {0};

	*out = *in;
	atomic_fetch_add(&n_there, 1);
	while (n_there < 2)
		sched_yield();
	if (!pthread_equal(pthread_self(), opener))
		return 0;
	if (par_map(outside, &par_task_count_inside, values, values, 12,
	            PAR_SETTINGS(.batch_size = PAR_SET(1)), &error) < 0)
		return par_fail_task(env, 1, "%s", words());
	return 0;
}
PAR_TASK_ENV(use_outside, int, int)

START_TEST(a_pool_from_outside_uses_a_share_of_its_workers)
{
	int values[2] = {0};
	int32_t code;

	tree_have_cores(4);
	opener = pthread_self();
	ck_assert_int_eq(par_open(&outside, PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(4)), &error), 0);
	code = par_map(NULL, &par_task_use_outside, values, values, 2,
	               PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2)), &error);
	ck_assert_msg(code == PAR_OK, "%s", words());
	ck_assert_int_eq(tasks_inside, 12);
	ck_assert_int_eq(most_inside, 2);
	ck_assert_int_eq(par_n_jobs(outside), 4);
	par_close(outside);
}
END_TEST

/* --- threads of libraries ------------------------------------------------------------------ */

static int threads_of_openmp(const int *in, int *out)
{
	const char *limit = getenv("OMP_NUM_THREADS");

	*out = *in + (limit != NULL ? atoi(limit) : -1000);
	return 0;
}
PAR_TASK(threads_of_openmp, int, int)

struct wanted {
	int n_jobs, oversubscribe;
};

static int ask_for_threads(par_env *env, const struct wanted *wanted, int *out)
{
	static const char *const options[] = {"idle_worker_timeout=0s", NULL};
	int in[1] = {0}, seen[1];

	if (par_map(NULL, &par_task_threads_of_openmp, in, seen, 1,
	            PAR_SETTINGS(.backend = "nested-loky", .options = options, .n_jobs = PAR_SET(wanted->n_jobs),
	                         .oversubscribe = PAR_SET(wanted->oversubscribe)), &error) < 0)
		return par_fail_task(env, 1, "%s", words());
	*out = seen[0];
	return 0;
}
PAR_TASK_ENV(ask_for_threads, struct wanted, int)

/* 8 cores, 2 workers, so 4 for each of these. */
START_TEST(libraries_in_worker_processes_have_a_share_of_the_share)
{
	static const char *const around[] = {"threading", "loky", "multiprocessing"};
	static const char *const ends[] = {"idle_worker_timeout=0s", NULL};
	const struct wanted wanted[] = {{1, 0}, {2, 0}, {4, 0}, {8, 0}, {-1, 0}, {8, 1}};
	const int expected[] = {4, 2, 1, 1, 1, 1};
	int out[6];
	int32_t code;

	unsetenv("OMP_NUM_THREADS");
	tree_have_cores(8);
	code = par_map(NULL, &par_task_ask_for_threads, wanted, out, 6,
	               PAR_SETTINGS(.backend = around[_i], .options = _i == 1 ? ends : NULL,
	                            .n_jobs = PAR_SET(2)), &error);
	ck_assert_msg(code == PAR_OK, "%s", words());
	for (int i = 0; i < 6; i++)
		ck_assert_msg(out[i] == expected[i], "%d: %d, not %d", i, out[i], expected[i]);
}
END_TEST

static int run(void)
{
	Suite *suite = suite_create("core_budget");
	TCase *tests = tcase_create("core_budget");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, tree_begin, scratch_end);
	tcase_add_loop_test(tests, no_more_leaves_run_at_once_than_there_are_cores, 0,
	                    sizeof(trees) / sizeof(trees[0]));
	tcase_add_loop_test(tests, a_limit_of_the_cores_is_shared_like_them, 0, 6);
	tcase_add_test(tests, workers_that_are_kept_hear_of_another_limit);
	tcase_add_test(tests, a_worker_with_fewer_cores_than_its_share_has_those);
	tcase_add_loop_test(tests, a_call_that_insists_has_more_and_so_have_those_inside, 0, 3);
	tcase_add_loop_test(tests, until_one_inside_does_not, 0, 3);
	tcase_add_test(tests, negative_n_jobs_count_from_the_share_nevertheless);
	tcase_add_test(tests, a_context_insists);
	tcase_add_test(tests, the_default_of_the_process_insists);
	tcase_add_test(tests, plugins_conf_insists);
	tcase_add_test(tests, to_insist_is_0_or_1);
	tcase_add_test(tests, what_is_capped_is_information);
	tcase_add_test(tests, effective_n_jobs_knows_of_it);
	tcase_add_loop_test(tests, a_backend_that_does_not_care_is_held_to_it, 0, 2);
	tcase_add_test(tests, workers_elsewhere_are_not_counted_and_their_tasks_have_one_core);
	tcase_add_test(tests, a_pool_from_outside_uses_a_share_of_its_workers);
	tcase_add_loop_test(tests, libraries_in_worker_processes_have_a_share_of_the_share, 0, 3);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}

int main(int argc, char **argv)
{
	par_worker_main(argc, argv);
	return run();
}
