#include "context.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>

START_TEST(outside_of_any_task_nothing_is_set)
{
	ck_assert_int_eq(context_current()->level, 0);
	ck_assert_int_eq(context_current()->n_jobs, 0);
	ck_assert_ptr_null(context_current()->backend);
}
END_TEST

START_TEST(what_was_there_can_be_restored)
{
	struct context outer = context_swap((struct context){1, 4, "threading"});
	struct context inner = context_swap((struct context){2, 0, "sequential"});

	ck_assert_int_eq(context_current()->level, 2);
	ck_assert_str_eq(context_current()->backend, "sequential");
	ck_assert_int_eq(inner.level, 1);
	ck_assert_int_eq(inner.n_jobs, 4);
	context_swap(inner);
	ck_assert_str_eq(context_current()->backend, "threading");
	context_swap(outer);
	ck_assert_int_eq(context_current()->level, 0);
}
END_TEST

static void *look(void *arg)
{
	int *level = arg;

	*level = context_current()->level;
	context_swap((struct context){9, 9, "nine"});
	return NULL;
}

START_TEST(each_thread_has_its_own)
{
	pthread_t thread;
	int level = -1;

	context_swap((struct context){5, 0, NULL});
	ck_assert_int_eq(pthread_create(&thread, NULL, look, &level), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(level, 0);
	ck_assert_int_eq(context_current()->level, 5);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("context");
	TCase *tests = tcase_create("context");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, outside_of_any_task_nothing_is_set);
	tcase_add_test(tests, what_was_there_can_be_restored);
	tcase_add_test(tests, each_thread_has_its_own);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
