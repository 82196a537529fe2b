#include "progress.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char line[PROGRESS_LINE];

static const struct progress unknown = {.verbose = 11, .n_jobs = 2, .total = -1};

START_TEST(says_nothing_unless_asked)
{
	struct progress progress = {.verbose = 0, .n_jobs = 2, .total = -1};
	struct progress_point last = {.batches = 1, .sent = 1, .completed = 1, .exhausted = 1};

	ck_assert_int_eq(progress_start(&progress, "threading", 2, line, sizeof(line)), 0);
	ck_assert_int_eq(progress_at(&progress, &last, line, sizeof(line)), 0);
	progress.verbose = -3;
	ck_assert_int_eq(progress_at(&progress, &last, line, sizeof(line)), 0);
}
END_TEST

START_TEST(names_the_backend_and_what_was_asked)
{
	struct progress progress = {.verbose = 1, .n_jobs = -1, .total = -1};

	ck_assert_int_eq(progress_start(&progress, "threading", 2, line, sizeof(line)), 1);
	ck_assert_str_eq(line, "[Parallel(n_jobs=-1)]: "
	                       "Using backend threading with 2 concurrent workers.\n");
}
END_TEST

START_TEST(counts_where_the_total_is_unknown)
{
	struct progress_point point = {.batches = 9, .sent = 9, .completed = 7, .elapsed_s = 1.25};

	ck_assert_int_eq(progress_at(&unknown, &point, line, sizeof(line)), 1);
	ck_assert_str_eq(line, "[Parallel(n_jobs=2)]: Done   7 tasks      | elapsed:    1.2s\n");
}
END_TEST

START_TEST(counts_up_to_a_known_total)
{
	struct progress progress = {.verbose = 11, .n_jobs = 2, .total = 1000};
	struct progress_point point = {.batches = 9, .sent = 9, .completed = 7, .elapsed_s = 61};

	ck_assert_int_eq(progress_at(&progress, &point, line, sizeof(line)), 1);
	ck_assert_str_eq(line, "[Parallel(n_jobs=2)]: Done    7 out of 1000 | elapsed:  1.0min\n");
}
END_TEST

START_TEST(estimates_what_remains_once_all_are_sent)
{
	struct progress_point point = {.batches = 10, .sent = 10, .completed = 4, .exhausted = 1,
	                               .elapsed_s = 2};

	ck_assert_int_eq(progress_at(&unknown, &point, line, sizeof(line)), 1);
	ck_assert_str_eq(line, "[Parallel(n_jobs=2)]: Done   4 out of  10 "
	                       "| elapsed:    2.0s remaining:    3.0s\n");
	point.completed = 0;
	ck_assert_int_eq(progress_at(&unknown, &point, line, sizeof(line)), 1);
	ck_assert_str_eq(line, "[Parallel(n_jobs=2)]: Done   0 out of  10 "
	                       "| elapsed:    2.0s remaining:   20.0s\n");
}
END_TEST

START_TEST(always_says_that_it_finished)
{
	struct progress progress = {.verbose = 1, .n_jobs = 2, .total = 10};
	struct progress_point point = {.batches = 10, .sent = 10, .completed = 10, .exhausted = 1,
	                               .elapsed_s = 0.04};

	ck_assert_int_eq(progress_at(&progress, &point, line, sizeof(line)), 1);
	ck_assert_str_eq(line, "[Parallel(n_jobs=2)]: "
	                       "Done 10 out of 10 | elapsed:    0.0s finished\n");
	point = (struct progress_point){.exhausted = 1};
	ck_assert_int_eq(progress_at(&unknown, &point, line, sizeof(line)), 1);
	ck_assert_str_eq(line, "[Parallel(n_jobs=2)]: "
	                       "Done   0 out of   0 | elapsed:    0.0s finished\n");
}
END_TEST

START_TEST(all_that_was_sent_is_not_all_while_the_source_has_more)
{
	struct progress_point point = {.batches = 3, .sent = 3, .completed = 3};

	ck_assert_int_eq(progress_at(&unknown, &point, line, sizeof(line)), 1);
	ck_assert_ptr_nonnull(strstr(line, "tasks"));
	ck_assert_ptr_null(strstr(line, "finished"));
}
END_TEST

/* B107 of joblib: a reader's eye stays in place. */
START_TEST(the_columns_keep_their_width)
{
	struct progress progress = {.verbose = 100, .n_jobs = 2, .total = 100};

	for (uint64_t i = 0; i < 100; i++) {
		struct progress_point point = {.batches = i, .sent = 100, .completed = i};

		ck_assert_int_eq(progress_at(&progress, &point, line, sizeof(line)), 1);
		ck_assert_int_eq(strchr(line, '|') - line, 42);
		point.exhausted = 1;
		if (progress_at(&progress, &point, line, sizeof(line)))
			ck_assert_int_eq(strchr(line, '|') - line, 42);
	}
}
END_TEST

/* The indices below limit at which a line is shown, as text. */
static char *shown_below(int64_t verbose, uint64_t limit, char *text, size_t size)
{
	struct progress progress = {.verbose = verbose, .n_jobs = 2, .total = -1};
	size_t used = 0;

	text[0] = '\0';
	for (uint64_t i = 0; i < limit; i++) {
		struct progress_point point = {.batches = i, .sent = i + 1, .completed = i};

		if (progress_at(&progress, &point, line, sizeof(line)))
			used += (size_t)snprintf(text + used, size - used, "%llu ",
			                         (unsigned long long)i);
	}
	return text;
}

START_TEST(thins_the_lines_as_joblib_does)
{
	char text[512];

	ck_assert_str_eq(shown_below(1, 700, text, sizeof(text)), "0 49 199 449 ");
	ck_assert_str_eq(shown_below(2, 500, text, sizeof(text)), "0 40 161 364 ");
	ck_assert_str_eq(shown_below(5, 300, text, sizeof(text)), "0 17 71 161 287 ");
	ck_assert_str_eq(shown_below(8, 150, text, sizeof(text)), "0 4 17 40 71 112 ");
	ck_assert_str_eq(shown_below(10, 35, text, sizeof(text)), "0 1 4 7 12 17 24 31 ");
	ck_assert_str_eq(shown_below(11, 8, text, sizeof(text)), "0 1 2 3 4 5 6 7 ");
	ck_assert_str_eq(shown_below(100, 4, text, sizeof(text)), "0 1 2 3 ");
}
END_TEST

/* The completed tasks, of 20, at which a line is shown once all are sent. */
static char *shown_of_20(int64_t verbose, uint64_t pre_dispatch, char *text, size_t size)
{
	struct progress progress = {.verbose = verbose, .total = -1, .pre_dispatch = pre_dispatch};
	size_t used = 0;

	text[0] = '\0';
	for (uint64_t i = 0; i < 20; i++) {
		struct progress_point point = {.batches = 20, .sent = 20, .completed = i,
		                               .exhausted = 1};

		if (progress_at(&progress, &point, line, sizeof(line)))
			used += (size_t)snprintf(text + used, size - used, "%llu ",
			                         (unsigned long long)i);
	}
	return text;
}

/* Computed with joblib's own expression, (20 - i + 1 - pre) % (20 // verbose + 1). */
START_TEST(thins_the_end_as_joblib_does)
{
	char text[512];

	ck_assert_str_eq(shown_of_20(1, 4, text, sizeof(text)), "0 17 ");
	ck_assert_str_eq(shown_of_20(5, 4, text, sizeof(text)), "0 2 7 12 17 ");
	ck_assert_str_eq(shown_of_20(5, 0, text, sizeof(text)), "0 1 6 11 16 ");
	ck_assert_str_eq(shown_of_20(10, 4, text, sizeof(text)), "0 2 5 8 11 14 17 ");
	ck_assert_str_eq(shown_of_20(50, 4, text, sizeof(text)),
	                 "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 ");
}
END_TEST

START_TEST(a_minute_is_still_seconds)
{
	char text[32];

	ck_assert_str_eq(progress_time(0, text, sizeof(text)), "   0.0s");
	ck_assert_str_eq(progress_time(42, text, sizeof(text)), "  42.0s");
	ck_assert_str_eq(progress_time(60.0, text, sizeof(text)), "  60.0s");
	ck_assert_str_eq(progress_time(60.1, text, sizeof(text)), " 1.0min");
	ck_assert_str_eq(progress_time(72, text, sizeof(text)), " 1.2min");
	ck_assert_str_eq(progress_time(36000, text, sizeof(text)), "600.0min");
}
END_TEST

START_TEST(a_long_name_is_cut_before_the_newline)
{
	char name[1000];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(progress_start(&unknown, name, 2, line, sizeof(line)), 1);
	ck_assert_uint_eq(strlen(line), sizeof(line) - 1);
	ck_assert_int_eq(line[sizeof(line) - 2], '\n');
	for (size_t size = 0; size < 40; size++) {
		memset(line, '#', sizeof(line));
		ck_assert_int_eq(progress_start(&unknown, name, 2, line, size), size >= 2);
		ck_assert_int_eq(line[size], '#');
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("progress");
	TCase *tests = tcase_create("progress");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, says_nothing_unless_asked);
	tcase_add_test(tests, names_the_backend_and_what_was_asked);
	tcase_add_test(tests, counts_where_the_total_is_unknown);
	tcase_add_test(tests, counts_up_to_a_known_total);
	tcase_add_test(tests, estimates_what_remains_once_all_are_sent);
	tcase_add_test(tests, always_says_that_it_finished);
	tcase_add_test(tests, all_that_was_sent_is_not_all_while_the_source_has_more);
	tcase_add_test(tests, the_columns_keep_their_width);
	tcase_add_test(tests, thins_the_lines_as_joblib_does);
	tcase_add_test(tests, thins_the_end_as_joblib_does);
	tcase_add_test(tests, a_minute_is_still_seconds);
	tcase_add_test(tests, a_long_name_is_cut_before_the_newline);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
