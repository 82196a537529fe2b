/* A call on one backend inside a task on another: every pair ends, with the right results, and so
 * do deeper ones, also on a pool of one or two threads for the whole process.
 *
 * link: -Wl,--wrap=cgroup_visit -rdynamic */
#include "tree.h"

#include <parloop/worker.h>

/* As they are named in a call; options end in NULL. */
static const struct way {
	const char *backend, *option;
} ways[] = {
	{"sequential", ""},
	{"threading", ""},
	{"multiprocessing", "start_method=fork"},
	{"multiprocessing", "start_method=forkserver"},
	{"multiprocessing", "start_method=spawn"},
	{"loky", "idle_worker_timeout=0s"},
	{"fixed_pool", "slots=1"},
	{"fixed_pool", "slots=2"},
};
enum { N_WAYS = sizeof(ways) / sizeof(ways[0]), FIXED_1 = 6, FIXED_2 = 7 };

/* Those above N_WAYS are the same again, as nested-NAME. */
enum { ALL_WAYS = 2 * N_WAYS };

static void begin(void)
{
	static const char text[] = "[backend fixed_pool]\npath = " PAR_BUILD "/tests/plugins/fixed_pool.so\n";
	par_error error = PAR_ERROR_INIT;
	char words[1000];

	tree_begin();
	setenv("PARLOOP_CONF", scratch_write("pairs.conf", text, strlen(text)), 1);
	ck_assert_msg(par_configure(getenv("PARLOOP_CONF"), &error) == PAR_OK, "%s",
	              par_error_text(&error, 1, words, sizeof(words)));
	tree_have_cores(2);
}

/* The leaves below so many calls on that backend; nobody waits for anybody. */
static struct tree_call call_on(int way, int n_jobs, int n)
{
	struct tree_call call = {.n_jobs = n_jobs, .n = n, .oversubscribe = 1};

	(void)snprintf(call.backend, sizeof(call.backend), "%s%s", way < N_WAYS ? "" : "nested-",
	               ways[way % N_WAYS].backend);
	(void)snprintf(call.option, sizeof(call.option), "%s", ways[way % N_WAYS].option);
	return call;
}

START_TEST(a_parent_and_a_child)
{
	struct tree_call calls[] = {call_on(_i / ALL_WAYS, 2, 3), call_on(_i % ALL_WAYS, 2, 3)};

	tree_grow(calls, 2, 0);
}
END_TEST

START_TEST(a_grandparent_as_well)
{
	int parent = N_WAYS + _i / N_WAYS, child = N_WAYS + _i % N_WAYS;
	struct tree_call calls[] = {call_on(parent, 2, 2), call_on(child, 2, 2), call_on(parent, 2, 2)};

	tree_grow(calls, 3, 0);
}
END_TEST

/* Each by its name, or by what the outermost was called: of processes one of each, of threads as
 * many as there may be. */
START_TEST(ten_deep)
{
	struct tree_call calls[10];
	int way = N_WAYS + _i % N_WAYS, is_process = _i % N_WAYS >= 2 && _i % N_WAYS <= 5;

	for (int i = 0; i < 10; i++) {
		calls[i] = call_on(way, 2, is_process ? 1 : 2);
		if (_i >= N_WAYS && i > 0)
			calls[i].backend[0] = '\0';
	}
	tree_grow(calls, 10, 0);
}
END_TEST

START_TEST(eleven_deep_is_an_error)
{
	struct tree_node node = {.depth = 0};
	par_error error = PAR_ERROR_INIT;
	char text[2000];

	for (int i = 0; i < 11; i++)
		node.calls[i] = call_on(N_WAYS + _i, 2, 1);
	ck_assert_int_lt(tree_call(&node, &error), 0);
	assert_contains(par_error_text(&error, 1, text, sizeof(text)), "nested too deep");
	ck_assert_int_eq(tree->leaves, 0);
}
END_TEST

/* No slot of the pool is free but those that are given back. */
START_TEST(ten_deep_with_others_in_between)
{
	struct tree_call calls[10];

	for (int i = 0; i < 10; i++)
		calls[i] = call_on(i % 2 == 0 ? FIXED_1 + _i / 2 : _i % 2 == 0 ? 1 : 0, 2, 2);
	tree_grow(calls, 10, 0);
}
END_TEST

/* Of 1023 calls some dozens wait at once, not nearly all of them. */
START_TEST(the_tree_is_gone_through_in_depth)
{
	struct tree_call calls[10];

	for (int i = 0; i < 10; i++)
		calls[i] = call_on(FIXED_2, 2, 2);
	tree_grow(calls, 10, 0);
	ck_assert_int_lt(tree->most_threads, 256);
}
END_TEST

START_TEST(the_pool_is_full_all_the_time_and_never_too_full)
{
	struct tree_call calls[] = {call_on(FIXED_1 + _i, 2, 4), call_on(FIXED_1 + _i, 2, 4),
	                            call_on(FIXED_1 + _i, 2, 4)};

	tree_grow(calls, 3, _i + 1);
}
END_TEST

/* --- several outermost calls --------------------------------------------------------------- */

static void *grow_one(void *failed)
{
	struct tree_node node = {.depth = 0};
	par_error error = PAR_ERROR_INIT;
	char text[1000];

	for (int i = 0; i < 4; i++)
		node.calls[i] = call_on(i == 1 ? 1 : FIXED_2, 2, 3);
	if (tree_call(&node, &error) != 81) {
		*(int *)failed = 1;
		fprintf(stderr, "%s\n", par_error_text(&error, 1, text, sizeof(text)));
	}
	return NULL;
}

START_TEST(five_threads_have_trees_in_one_pool)
{
	pthread_t threads[5];
	int failed[5] = {0};

	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, grow_one, &failed[i]), 0);
	for (int i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(failed[i], 0);
	ck_assert_int_eq(tree->leaves, 5 * 81);
}
END_TEST

static int run(void)
{
	Suite *suite = suite_create("pairs");
	TCase *tests = tcase_create("pairs"), *pools = tcase_create("pools");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	suite_add_tcase(suite, pools);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_checked_fixture(pools, begin, scratch_end);
	tcase_add_loop_test(tests, a_parent_and_a_child, 0, ALL_WAYS * ALL_WAYS);
	tcase_add_loop_test(tests, a_grandparent_as_well, 0, N_WAYS * N_WAYS);
	tcase_add_loop_test(tests, ten_deep, 0, 2 * N_WAYS);
	tcase_add_loop_test(tests, eleven_deep_is_an_error, 1, N_WAYS);
	tcase_add_loop_test(pools, ten_deep_with_others_in_between, 0, 4);
	tcase_add_test(pools, the_tree_is_gone_through_in_depth);
	tcase_add_loop_test(pools, the_pool_is_full_all_the_time_and_never_too_full, 0, 2);
	tcase_add_test(pools, five_threads_have_trees_in_one_pool);
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
