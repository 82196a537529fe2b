#include "scratch.h"

static par_error error = PAR_ERROR_INIT;

enum { N = 400 };
static int64_t in[N];
static uint64_t seeds[N], others[N];
static _Atomic int fails_first; /* each on its first try */

static int draw(par_env *env, const int64_t *from, uint64_t *to)
{
	(void)from;
	if (fails_first && env->attempt == 0)
		return 1;
	*to = par_seed(env);
	return 0;
}
PAR_TASK_ENV(draw, int64_t, uint64_t)

static void begin(void)
{
	scratch_begin();
}

static const uint64_t *draw_all(const par_settings *settings)
{
	memset(others, 0, sizeof(others));
	ck_assert_int_eq(par_map(NULL, &par_task_draw, in, others, N, settings, &error), PAR_OK);
	return others;
}

static void remember(int64_t seed)
{
	memcpy(seeds, draw_all(PAR_SETTINGS(.seed = {1, seed})), sizeof(seeds));
}

static int n_same(const uint64_t *drawn)
{
	int n = 0;

	for (int i = 0; i < N; i++)
		n += drawn[i] == seeds[i];
	return n;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

START_TEST(a_seed_repeats_itself)
{
	remember(_i);
	ck_assert_int_eq(n_same(draw_all(PAR_SETTINGS(.seed = {1, _i}))), N);
}
END_TEST

START_TEST(whatever_the_workers_batches_and_backends)
{
	remember(42);
	ck_assert_int_eq(n_same(draw_all(PAR_SETTINGS(.seed = {1, 42}, .backend = "sequential"))), N);
	ck_assert_int_eq(n_same(draw_all(PAR_SETTINGS(.seed = {1, 42}, .backend = "threading", .n_jobs = {1, 3}))), N);
	for (int batch = 1; batch < 100; batch += 33)
		ck_assert_int_eq(n_same(draw_all(PAR_SETTINGS(.seed = {1, 42}, .n_jobs = {1, 2}, .batch_size = {1, batch}))),
		                 N);
	ck_assert_int_eq(n_same(draw_all(PAR_SETTINGS(.seed = {1, 42}, .n_jobs = {1, 2}, .task_timeout = {1, 1000}))), N);
}
END_TEST

START_TEST(and_the_retries)
{
	remember(42);
	fails_first = 1;
	ck_assert_int_eq(n_same(draw_all(PAR_SETTINGS(.seed = {1, 42}, .n_jobs = {1, _i}, .retries = {1, 1}))), N);
}
END_TEST

static int32_t give(void *user, par_item *item)
{
	int *given = user;

	if (*given == N)
		return 0;
	item->payload = &in[(*given)++];
	item->n_bytes = sizeof(in[0]);
	return 1;
}

static int32_t get(void *user, const par_outcome *outcome)
{
	(void)user;
	memcpy(&others[outcome->index], outcome->bytes, sizeof(others[0]));
	return 0;
}

START_TEST(a_stream_draws_what_an_array_does)
{
	int given = 0;

	remember(42);
	ck_assert_int_eq(par_run(NULL, &par_task_draw, give, get, &given,
	                         PAR_SETTINGS(.seed = {1, 42}, .n_jobs = {1, 2}, .order = PAR_UNORDERED), &error),
	                 PAR_OK);
	ck_assert_int_eq(n_same(others), N);
}
END_TEST

START_TEST(tasks_draw_different_ones)
{
	remember(_i);
	qsort(seeds, N, sizeof(seeds[0]), by_value);
	for (int i = 1; i < N; i++)
		ck_assert_uint_ne(seeds[i], seeds[i - 1]);
}
END_TEST

START_TEST(so_do_calls_with_other_seeds)
{
	remember(1);
	ck_assert_int_eq(n_same(draw_all(PAR_SETTINGS(.seed = {1, 2}))), 0);
	ck_assert_int_eq(n_same(draw_all(PAR_SETTINGS(.seed = {1, -1}))), 0);
	ck_assert_int_eq(n_same(draw_all(PAR_SETTINGS(.seed = {1, 0}))), 0);
}
END_TEST

START_TEST(and_calls_with_none)
{
	memcpy(seeds, draw_all(NULL), sizeof(seeds));
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(n_same(draw_all(NULL)), 0);
}
END_TEST

/* A call that says nothing takes what its pool was opened with. */
START_TEST(a_pool_may_have_one_for_all_its_calls)
{
	par_parallel *pool;

	remember(7);
	ck_assert_int_eq(par_open(&pool, PAR_SETTINGS(.n_jobs = {1, 2}, .seed = {1, 7}), &error), PAR_OK);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(par_map(pool, &par_task_draw, in, others, N, NULL, &error), PAR_OK);
		ck_assert_int_eq(n_same(others), N);
	}
	ck_assert_int_eq(par_map(pool, &par_task_draw, in, others, N, PAR_SETTINGS(.seed = {1, 8}), &error), PAR_OK);
	ck_assert_int_eq(n_same(others), 0);
	par_close(pool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("seed");
	TCase *tests = tcase_create("seed");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_loop_test(tests, a_seed_repeats_itself, -1, 2);
	tcase_add_test(tests, whatever_the_workers_batches_and_backends);
	tcase_add_loop_test(tests, and_the_retries, 1, 3);
	tcase_add_test(tests, a_stream_draws_what_an_array_does);
	tcase_add_loop_test(tests, tasks_draw_different_ones, -1, 2);
	tcase_add_test(tests, so_do_calls_with_other_seeds);
	tcase_add_test(tests, and_calls_with_none);
	tcase_add_test(tests, a_pool_may_have_one_for_all_its_calls);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
