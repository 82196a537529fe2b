#include "redo.h"

#include <check.h>
#include <stdlib.h>

static struct redo redo;

static void begin(void)
{
	redo_init(&redo);
}

static void end(void)
{
	redo_finish(&redo);
}

static void add(uint64_t index, int64_t due_ns)
{
	ck_assert_int_eq(redo_add(&redo, (struct redo_task){.index = index, .due_ns = due_ns, .attempt = 1}), 0);
}

/* The number of the task, or -1. */
static int64_t take(int64_t now_ns)
{
	struct redo_task task;

	return redo_take(&redo, now_ns, &task) ? (int64_t)task.index : -1;
}

START_TEST(at_first_there_is_none)
{
	ck_assert(redo_is_empty(&redo));
	ck_assert_int_eq(take(INT64_MAX), -1);
	ck_assert_int_eq(redo_first_due(&redo), INT64_MAX);
	ck_assert_uint_eq(redo_due(&redo, INT64_MAX, 9), 0);
}
END_TEST

START_TEST(one_is_taken_once_when_its_time_has_come)
{
	add(7, 100);
	ck_assert(!redo_is_empty(&redo));
	ck_assert_int_eq(take(99), -1);
	ck_assert_int_eq(redo_first_due(&redo), 100);
	ck_assert_int_eq(take(100), 7);
	ck_assert_int_eq(take(100), -1);
	ck_assert(redo_is_empty(&redo));
}
END_TEST

START_TEST(it_comes_back_as_it_was_added)
{
	struct redo_task task;

	ck_assert_int_eq(redo_add(&redo, (struct redo_task){.index = 3, .due_ns = 5, .attempt = 8}), 0);
	ck_assert_int_eq(redo_take(&redo, 5, &task), 1);
	ck_assert_uint_eq(task.index, 3);
	ck_assert_int_eq(task.due_ns, 5);
	ck_assert_int_eq(task.attempt, 8);
}
END_TEST

START_TEST(the_one_due_first_goes_first)
{
	uint64_t x = 1;
	int64_t last = -1;

	for (int i = 0; i < 1000; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		add((uint64_t)i, (int64_t)(x >> 50));
	}
	for (int i = 0; i < 1000; i++) {
		int64_t due = redo_first_due(&redo);

		ck_assert_int_ge(due, last);
		ck_assert_int_ge(take(due), 0);
		last = due;
	}
	ck_assert(redo_is_empty(&redo));
}
END_TEST

START_TEST(of_those_due_together_the_first_in_order_goes_first)
{
	for (uint64_t i = 0; i < 50; i++)
		add((i * 7 + 3) % 50, 20);
	for (int64_t i = 0; i < 50; i++)
		ck_assert_int_eq(take(20), i);
}
END_TEST

START_TEST(those_that_are_due_are_counted_up_to_a_limit)
{
	for (uint64_t i = 0; i < 10; i++)
		add(i, (int64_t)i);
	ck_assert_uint_eq(redo_due(&redo, 4, 100), 5);
	ck_assert_uint_eq(redo_due(&redo, 4, 3), 3);
	ck_assert_uint_eq(redo_due(&redo, -1, 3), 0);
}
END_TEST

START_TEST(all_are_forgotten_for_the_next_call)
{
	add(1, 1);
	add(2, 2);
	redo_clear(&redo);
	ck_assert(redo_is_empty(&redo));
	ck_assert_int_eq(take(INT64_MAX), -1);
	add(3, 3);
	ck_assert_int_eq(take(3), 3);
}
END_TEST

enum { EACH = 2000, THREADS = 3 };
static _Atomic int taken[THREADS * EACH];

static void *add_and_take(void *arg)
{
	uint64_t base = (uint64_t)(size_t)arg * EACH;
	struct redo_task task;

	for (uint64_t i = 0; i < EACH; i++) {
		if (redo_add(&redo, (struct redo_task){.index = base + i, .due_ns = (int64_t)(i * 37 % 101), .attempt = 1}) != 0)
			abort();
		if (i % 3 != 0 && redo_take(&redo, 1000, &task))
			taken[task.index]++;
	}
	return NULL;
}

START_TEST(many_threads_take_each_once)
{
	pthread_t threads[THREADS];
	int64_t index;

	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, add_and_take, (void *)i), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	while ((index = take(1000)) >= 0)
		taken[index]++;
	for (int i = 0; i < THREADS * EACH; i++)
		ck_assert_int_eq(taken[i], 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("redo");
	TCase *tests = tcase_create("redo");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, at_first_there_is_none);
	tcase_add_test(tests, one_is_taken_once_when_its_time_has_come);
	tcase_add_test(tests, it_comes_back_as_it_was_added);
	tcase_add_test(tests, the_one_due_first_goes_first);
	tcase_add_test(tests, of_those_due_together_the_first_in_order_goes_first);
	tcase_add_test(tests, those_that_are_due_are_counted_up_to_a_limit);
	tcase_add_test(tests, all_are_forgotten_for_the_next_call);
	tcase_add_test(tests, many_threads_take_each_once);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
