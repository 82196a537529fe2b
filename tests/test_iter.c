#include "scratch.h"

#include "own_backend.h"

static par_error error = PAR_ERROR_INIT;

/* A backend whose batches are over before submit() returns, so that there is a result as soon
 * as there is a task. */
static void begin(void)
{
	scratch_begin();
	ck_assert_int_eq(par_configure(NULL, &error), PAR_OK);
	ck_assert_int_eq(par_register_backend("custom", own_factory, OWN_NOTE, 0, &error), PAR_OK);
	own.runs_inline = 1;
}

static int32_t give_to_five(void *user, par_item *item)
{
	int64_t *given = user;

	if (*given == 5)
		return 0;
	++*given;
	item->payload = given;
	item->n_bytes = sizeof(*given);
	return 1;
}

static par_iter *open_iter(int64_t *given)
{
	par_iter *iter;
	int32_t code;

	*given = 0;
	code = par_iter_open(&iter, NULL, &par_task_own_square, give_to_five, given,
	                     PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(2)), &error);
	ck_assert_msg(code == PAR_OK, "%s: %s", error.what, error.reason);
	return iter;
}

START_TEST(a_result_that_came_while_it_opened_is_the_first)
{
	const par_outcome *outcome;
	int64_t given, square;
	par_iter *iter = open_iter(&given);

	for (uint64_t i = 0; i < 5; i++) {
		ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
		ck_assert_uint_eq(outcome->index, i);
		memcpy(&square, outcome->bytes, sizeof(square));
		ck_assert_int_eq(square, (int64_t)((i + 1) * (i + 1)));
	}
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 0);
	par_iter_close(iter, NULL);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(a_result_that_nobody_asked_for_is_counted_as_thrown_away)
{
	par_thrown thrown = {.size = sizeof(thrown)};
	int64_t given;
	par_iter *iter = open_iter(&given);

	par_iter_close(iter, &thrown);
	ck_assert_int_ge(given, 1);
	ck_assert_uint_eq(thrown.unused + thrown.cancelled, (uint64_t)given);
	ck_assert_uint_ge(thrown.unused, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iter");
	TCase *tests = tcase_create("iter");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_test(tests, a_result_that_came_while_it_opened_is_the_first);
	tcase_add_test(tests, a_result_that_nobody_asked_for_is_counted_as_thrown_away);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
