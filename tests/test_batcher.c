#include "batcher.h"

#include <check.h>
#include <stdlib.h>

#define MS INT64_C(1000000)

static struct batcher batcher;

/* joblib's constants, for its vectors. */
static void begin(uint64_t fixed)
{
	batcher_init(&batcher, fixed, 200 * MS, 2000 * MS);
}

static uint64_t after(uint64_t old, int64_t ms)
{
	begin(0);
	batcher.size = old;
	batcher_completed(&batcher, old, ms * MS);
	return batcher_size(&batcher);
}

START_TEST(sizes_follow_joblib)
{
	static const struct {
		uint64_t old;
		int64_t ms;
		uint64_t size;
	} vectors[] = {
		{1, 50, 2}, {1, 150, 2}, {1, 190, 2}, {2, 190, 4}, {4, 1, 8},
		{4, 200, 4}, {4, 1000, 4}, {4, 2000, 4}, {4, 2010, 1}, {4, 3000, 1},
		{100, 3000, 12}, {100, 2500, 16}, {1, 3000, 1}, {2, 50000, 1},
	};

	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		uint64_t size = after(vectors[i].old, vectors[i].ms);

		ck_assert_msg(size == vectors[i].size, "%llu tasks in %lld ms: %llu, expected %llu",
		              (unsigned long long)vectors[i].old, (long long)vectors[i].ms,
		              (unsigned long long)size, (unsigned long long)vectors[i].size);
	}
}
END_TEST

START_TEST(smooths_the_durations)
{
	static const int64_t ms[] = {1000, 500, 500};
	static const double smoothed_s[] = {1.0, 0.9, 0.82};

	begin(0);
	for (int i = 0; i < 3; i++) {
		batcher_completed(&batcher, 1, ms[i] * MS);
		ck_assert_double_eq_tol(batcher.smoothed_ns / 1e9, smoothed_s[i], 1e-12);
	}
}
END_TEST

START_TEST(starts_with_one_and_stays_until_told)
{
	begin(0);
	ck_assert_uint_eq(batcher_size(&batcher), 1);
	ck_assert_uint_eq(batcher_size(&batcher), 1);
}
END_TEST

START_TEST(ignores_a_batch_of_another_size)
{
	begin(0);
	batcher_completed(&batcher, 7, 1);
	ck_assert_uint_eq(batcher_size(&batcher), 1);
	batcher_completed(&batcher, 1, 1);
	ck_assert_uint_eq(batcher_size(&batcher), 2);
	batcher_completed(&batcher, 1, 1);
	ck_assert_uint_eq(batcher_size(&batcher), 2);
}
END_TEST

START_TEST(forgets_the_durations_when_the_size_changes)
{
	begin(0);
	batcher_completed(&batcher, 1, 50 * MS);
	ck_assert_uint_eq(batcher_size(&batcher), 2);
	ck_assert_double_eq(batcher.smoothed_ns, 0);
	batcher_completed(&batcher, 2, 1000 * MS);
	ck_assert_double_eq(batcher.smoothed_ns, 1e9);
}
END_TEST

START_TEST(a_fixed_size_stays)
{
	begin(7);
	for (int i = 0; i < 10; i++) {
		batcher_completed(&batcher, 7, i);
		ck_assert_uint_eq(batcher_size(&batcher), 7);
	}
}
END_TEST

START_TEST(grows_from_durations_too_short_to_measure)
{
	begin(0);
	batcher_completed(&batcher, 1, 0);
	ck_assert_uint_eq(batcher_size(&batcher), 2);
	batcher_completed(&batcher, 2, -5);
	ck_assert_uint_eq(batcher_size(&batcher), 4);
}
END_TEST

START_TEST(stops_growing_before_it_overflows)
{
	uint64_t size = 1, old = 0;

	begin(0);
	while (size > old) {
		old = size;
		batcher_completed(&batcher, size, 1);
		size = batcher_size(&batcher);
	}
	ck_assert_uint_eq(size, old);
	ck_assert_uint_ge(size, UINT64_C(1) << 32);
}
END_TEST

START_TEST(takes_back_a_size_that_became_too_long)
{
	begin(0);
	while (batcher_size(&batcher) < 64)
		batcher_completed(&batcher, batcher.size, 1);
	batcher_completed(&batcher, 64, 6400 * MS);
	ck_assert_uint_eq(batcher_size(&batcher), 4);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("batcher");
	TCase *tests = tcase_create("batcher");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, sizes_follow_joblib);
	tcase_add_test(tests, smooths_the_durations);
	tcase_add_test(tests, starts_with_one_and_stays_until_told);
	tcase_add_test(tests, ignores_a_batch_of_another_size);
	tcase_add_test(tests, forgets_the_durations_when_the_size_changes);
	tcase_add_test(tests, a_fixed_size_stays);
	tcase_add_test(tests, grows_from_durations_too_short_to_measure);
	tcase_add_test(tests, stops_growing_before_it_overflows);
	tcase_add_test(tests, takes_back_a_size_that_became_too_long);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
