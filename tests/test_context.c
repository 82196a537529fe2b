#include "context.h"

#include <parloop/parloop.h>

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

static struct context_outside enter(int32_t level, int32_t n_jobs, const char *backend)
{
	return context_enter(&(struct context){.level = level, .n_jobs = n_jobs, .backend = backend});
}

START_TEST(what_was_there_can_be_restored)
{
	struct context_outside outer = enter(1, 4, "threading");
	struct context_outside inner = enter(2, 0, "sequential");

	ck_assert_int_eq(context_current()->level, 2);
	ck_assert_str_eq(context_current()->backend, "sequential");
	context_leave(&inner);
	ck_assert_int_eq(context_current()->level, 1);
	ck_assert_int_eq(context_current()->n_jobs, 4);
	ck_assert_str_eq(context_current()->backend, "threading");
	context_leave(&outer);
	ck_assert_int_eq(context_current()->level, 0);
}
END_TEST

static void *look(void *arg)
{
	int *level = arg;

	*level = context_current()->level;
	enter(9, 9, "nine");
	return NULL;
}

START_TEST(each_thread_has_its_own)
{
	pthread_t thread;
	int level = -1;

	enter(5, 0, NULL);
	ck_assert_int_eq(pthread_create(&thread, NULL, look, &level), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(level, 0);
	ck_assert_int_eq(context_current()->level, 5);
}
END_TEST

static _Atomic int ended;

static void count_end(struct par_context *context)
{
	(void)context;
	ended++;
}

static struct par_context *push(struct par_context *context)
{
	context->end = count_end;
	ck_assert_int_eq(context_push(context), 0);
	ck_assert_ptr_eq(context_pushed(), context);
	return context;
}

START_TEST(what_was_pushed_is_popped_innermost_first)
{
	struct par_context a, b;

	ck_assert_ptr_null(context_pop());
	push(&a);
	push(&b);
	ck_assert_ptr_eq(context_pop(), &b);
	ck_assert_ptr_eq(context_pop(), &a);
	ck_assert_ptr_null(context_pop());
	ck_assert_int_eq(ended, 0);
}
END_TEST

static int warnings;

static void count_warning(void *user, int32_t level, const char *line)
{
	(void)user, (void)line;
	warnings += level == 2;
}

START_TEST(tasks_do_not_see_what_was_pushed_and_theirs_ends_with_them)
{
	struct par_context outer, inner;
	struct context_outside outside;

	par_set_log(count_warning, NULL);
	push(&outer);
	outside = enter(1, 0, NULL);
	ck_assert_ptr_null(context_pushed());
	ck_assert_ptr_null(context_pop());
	push(&inner);
	context_leave(&outside);
	ck_assert_int_eq(ended, 1);
	ck_assert_int_eq(warnings, 1);
	ck_assert_ptr_eq(context_pop(), &outer);
}
END_TEST

START_TEST(a_transparent_context_shows_it_but_does_not_let_go_of_it)
{
	struct par_context outer, inner;
	struct context_outside outside;

	push(&outer);
	outside = context_enter(&(struct context){.is_transparent = 1});
	ck_assert_ptr_eq(context_pushed(), &outer);
	ck_assert_ptr_null(context_pop());
	push(&inner);
	ck_assert_ptr_eq(context_pop(), &inner);
	context_leave(&outside);
	ck_assert_int_eq(ended, 0);
	ck_assert_ptr_eq(context_pop(), &outer);
}
END_TEST

static void *push_one(void *context)
{
	push(context);
	return NULL;
}

START_TEST(a_thread_that_ends_ends_what_it_has_pushed)
{
	struct par_context context;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, push_one, &context), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(ended, 1);
	ck_assert_ptr_null(context_pushed());
}
END_TEST

START_TEST(of_a_long_note_the_first_line_and_the_end_are_kept)
{
	struct context_outside outside;
	uint64_t task = 0;
	char text[2000] = "first";
	const char *note;

	for (int i = 0; i < 100; i++)
		(void)strcat(strcat(text, "\n"), "in between");
	(void)strcat(text, "\nthe last");
	outside = context_enter(&(struct context){.task = &task});
	/* What was shortened once is shortened again by the call around it. */
	for (int i = 0; i < 3; i++) {
		context_note(text);
		note = context_take_note(0);
		ck_assert_int_eq(strncmp(note, "first\n...\nin between\n", 21), 0);
		ck_assert_str_eq(strrchr(note, '\n'), "\nthe last");
		ck_assert_ptr_null(strstr(note + 10, "...\n...\n"));
		(void)snprintf(text, sizeof(text), "first\nin between\nin between\n%s", note);
	}
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	context_note(text);
	ck_assert_uint_le(strlen(context_take_note(0)), 600);
	context_leave(&outside);
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
	tcase_add_test(tests, what_was_pushed_is_popped_innermost_first);
	tcase_add_test(tests, tasks_do_not_see_what_was_pushed_and_theirs_ends_with_them);
	tcase_add_test(tests, a_transparent_context_shows_it_but_does_not_let_go_of_it);
	tcase_add_test(tests, a_thread_that_ends_ends_what_it_has_pushed);
	tcase_add_test(tests, of_a_long_note_the_first_line_and_the_end_are_kept);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
