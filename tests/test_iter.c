#include "scratch.h"

#include "own_backend.h"
#include "stuck.h"

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

/* --- in general, with the backends that there are ------------------------------------------- */

static void begin_plain(void)
{
	scratch_begin();
	stuck_begin();
	error = (par_error)PAR_ERROR_INIT;
}

static par_parallel *open_pool(int n_jobs)
{
	par_parallel *pool;

	ck_assert_int_eq(par_open(&pool, PAR_SETTINGS(.n_jobs = {1, n_jobs}), &error), PAR_OK);
	return pool;
}

/* The numbers from 1 on; negative: the source fails instead. */
struct counting {
	int64_t n, given, number;
};

static int32_t count(void *user, par_item *item)
{
	struct counting *counting = user;

	if (counting->given == counting->n)
		return 0;
	if (counting->n < 0 && counting->given == -counting->n)
		return -3;
	counting->number = ++counting->given;
	item->payload = &counting->number;
	item->n_bytes = sizeof(int64_t);
	return 1;
}

static par_iter *iterate_over(par_parallel *pool, struct counting *counting, const par_settings *settings)
{
	par_iter *iter;
	int32_t code = par_iter_open(&iter, pool, &par_task_stuck_double, count, counting, settings, &error);

	ck_assert_msg(code == PAR_OK, "%s: %s", error.what, error.reason);
	return iter;
}

/* How many come; each is right, and comes once. */
static int take_all(par_iter *iter, int in_order)
{
	static char seen[5000];
	const par_outcome *outcome;
	int64_t number;
	int n = 0;

	memset(seen, 0, sizeof(seen));
	while (par_iter_next(iter, &outcome, &error) == 1) {
		ck_assert_int_eq(outcome->status, PAR_OK);
		ck_assert(!in_order || outcome->index == (uint64_t)n);
		ck_assert(!seen[outcome->index]++);
		memcpy(&number, outcome->bytes, sizeof(number));
		ck_assert_int_eq(number, 2 * (int64_t)(outcome->index + 1));
		n++;
	}
	return n;
}

START_TEST(results_come_in_order)
{
	struct counting counting = {.n = 3000};
	par_iter *iter = iterate_over(NULL, &counting, PAR_SETTINGS(.n_jobs = {1, _i}));

	ck_assert_int_eq(take_all(iter, 1), 3000);
	par_iter_close(iter, NULL);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(or_as_they_are_over)
{
	struct counting counting = {.n = 3000};
	par_iter *iter = iterate_over(NULL, &counting, PAR_SETTINGS(.n_jobs = {1, _i}, .order = PAR_UNORDERED));

	ck_assert_int_eq(take_all(iter, 0), 3000);
	par_iter_close(iter, NULL);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(unordered_one_that_is_stuck_holds_nobody_up)
{
	struct numbers numbers = NUMBERS(-1, 2, 3, 4, 5, 6, 7, 8);
	const par_outcome *outcome;
	par_iter *iter;

	ck_assert_int_eq(par_iter_open(&iter, NULL, &par_task_stuck_double, give_number, &numbers,
	                               PAR_SETTINGS(.n_jobs = PAR_SET(2), .order = PAR_UNORDERED), &error),
	                 PAR_OK);
	for (int i = 0; i < 7; i++) {
		ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
		ck_assert_uint_ne(outcome->index, 0);
	}
	stuck_release(1);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
	ck_assert_uint_eq(outcome->index, 0);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 0);
	par_iter_close(iter, NULL);
}
END_TEST

START_TEST(nothing_gives_nothing)
{
	struct counting counting = {.n = 0};
	par_iter *iter = iterate_over(NULL, &counting, PAR_SETTINGS(.n_jobs = {1, _i}));

	ck_assert_int_eq(take_all(iter, 1), 0);
	par_iter_close(iter, NULL);
	par_iter_close(NULL, NULL);
}
END_TEST

START_TEST(its_end_is_told_again)
{
	struct counting counting = {.n = 2};
	par_iter *iter = iterate_over(NULL, &counting, PAR_SETTINGS(.n_jobs = {1, _i}));
	const par_outcome *outcome;

	ck_assert_int_eq(take_all(iter, 1), 2);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 0);
		ck_assert_ptr_null(outcome);
	}
	par_iter_close(iter, NULL);
}
END_TEST

START_TEST(workers_have_their_first_tasks_when_it_is_opened)
{
	struct numbers numbers = NUMBERS(-1, -2);
	par_thrown thrown = {.size = sizeof(thrown)};
	par_iter *iter;

	ck_assert_int_eq(par_iter_open(&iter, NULL, &par_task_stuck_double, give_number, &numbers,
	                               PAR_SETTINGS(.n_jobs = PAR_SET(2)), &error),
	                 PAR_OK);
	stuck_await(2);
	par_iter_close(iter, &thrown);
	ck_assert_int_eq(stuck.n_inside, 2);
	ck_assert_uint_eq(thrown.unused, 0);
	ck_assert_uint_eq(thrown.cancelled, 2);
	stuck_release(2);
}
END_TEST

START_TEST(one_worker_on_the_same_thread_does_nothing_before_it_is_asked)
{
	struct counting counting = {.n = 10};
	par_iter *iter = iterate_over(NULL, &counting, NULL);
	const par_outcome *outcome;

	ck_assert_int_eq(stuck.n_run, 0);
	ck_assert_int_eq(counting.given, 0);
	for (int i = 1; i <= 3; i++) {
		ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
		ck_assert_int_eq(stuck.n_run, i);
		ck_assert_int_eq(counting.given, i);
	}
	par_iter_close(iter, NULL);
	ck_assert_int_eq(stuck.n_run, 3);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

/* --- closed early ----------------------------------------------------------------------------- */

START_TEST(what_is_thrown_away_is_counted)
{
	par_thrown thrown = {.size = sizeof(thrown)};
	struct counting counting = {.n = 1000};
	par_iter *iter = iterate_over(NULL, &counting, PAR_SETTINGS(.n_jobs = {1, _i}, .order = PAR_UNORDERED,
	                                                            .pre_dispatch = "20"));
	const par_outcome *outcome;
	uint64_t n = 0;

	while (n < 10 && par_iter_next(iter, &outcome, &error) == 1)
		n++;
	par_iter_close(iter, &thrown);
	ck_assert_uint_eq(thrown.unused + thrown.cancelled + n, (uint64_t)counting.given);
	ck_assert_uint_ge(thrown.unused + n, (uint64_t)(_i == 1 ? 10 : 0));
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(who_does_not_ask_what_was_thrown_away_is_warned)
{
	struct numbers numbers = NUMBERS(1, -2);
	const par_outcome *outcome;
	par_iter *iter;

	ck_assert_int_eq(par_iter_open(&iter, NULL, &par_task_stuck_double, give_number, &numbers,
	                               PAR_SETTINGS(.n_jobs = PAR_SET(2)), &error),
	                 PAR_OK);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
	par_iter_close(iter, NULL);
	assert_contains(scratch_log, "2 0 tasks have been successfully executed but not used. Additionally, 1 "
	                             "tasks which were still being processed by the workers have been cancelled.");
	stuck_release(1);
}
END_TEST

START_TEST(a_pool_can_be_used_again_when_it_was_closed_early)
{
	par_parallel *pool = open_pool(_i);

	for (int i = 0; i < 20; i++) {
		par_thrown thrown = {.size = sizeof(thrown)};
		struct counting counting = {.n = 200};
		par_iter *iter = iterate_over(pool, &counting, PAR_SETTINGS(.order = 1 + i % 2));
		const par_outcome *outcome;

		for (int k = 0; k < i; k++)
			ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
		par_iter_close(iter, &thrown);
		counting = (struct counting){.n = 50};
		iter = iterate_over(pool, &counting, NULL);
		ck_assert_int_eq(take_all(iter, 1), 50);
		par_iter_close(iter, NULL);
	}
	par_close(pool);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(with_memory_of_the_caller_closing_waits_for_the_tasks)
{
	struct numbers numbers = NUMBERS(-1);
	par_thrown thrown = {.size = sizeof(thrown)};
	par_iter *iter;

	ck_assert_int_eq(par_iter_open(&iter, NULL, &par_task_stuck_double, give_number, &numbers,
	                               PAR_SETTINGS(.n_jobs = PAR_SET(2), .shared = &numbers,
	                                            .shared_size = sizeof(numbers)),
	                               &error),
	                 PAR_OK);
	stuck_await(1);
	stuck_release(1);
	par_iter_close(iter, &thrown);
	ck_assert_int_eq(stuck.n_inside, 0);
}
END_TEST

/* --- several, and who may use them ------------------------------------------------------------- */

START_TEST(several_may_be_open_at_once)
{
	struct counting counting[3] = {{.n = 100}, {.n = 100}, {.n = 100}};
	const par_outcome *outcome;
	par_iter *iter[3];

	for (int k = 0; k < 3; k++)
		iter[k] = iterate_over(NULL, &counting[k], PAR_SETTINGS(.n_jobs = {1, k + 1}));
	for (uint64_t i = 0; i < 100; i++)
		for (int k = 0; k < 3; k++) {
			ck_assert_int_eq(par_iter_next(iter[k], &outcome, &error), 1);
			ck_assert_uint_eq(outcome->index, i);
		}
	for (int k = 0; k < 3; k++)
		par_iter_close(iter[k], NULL);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(its_pool_is_busy_until_it_is_closed)
{
	struct counting counting = {.n = 3}, other = {.n = 3};
	par_parallel *pool = open_pool(_i);
	par_iter *iter = iterate_over(pool, &counting, NULL), *second;
	int64_t in[1] = {1}, out[1];

	ck_assert_int_eq(par_map(pool, &par_task_stuck_double, in, out, 1, NULL, &error), PAR_EBUSY);
	ck_assert_int_eq(par_iter_open(&second, pool, &par_task_stuck_double, count, &other, NULL, &error), PAR_EBUSY);
	ck_assert_ptr_null(second);
	ck_assert_int_eq(take_all(iter, 1), 3);
	ck_assert_int_eq(par_map(pool, &par_task_stuck_double, in, out, 1, NULL, &error), PAR_EBUSY);
	par_iter_close(iter, NULL);
	ck_assert_int_eq(par_map(pool, &par_task_stuck_double, in, out, 1, NULL, &error), PAR_OK);
	par_close(pool);
}
END_TEST

static void *use_it(void *iter)
{
	const par_outcome *outcome;
	par_error why = PAR_ERROR_INIT;
	int32_t code = par_iter_next(iter, &outcome, &why);

	par_iter_close(iter, NULL);
	return code == PAR_EINVAL && strstr(why.what, "another thread") != NULL ? iter : NULL;
}

START_TEST(another_thread_is_refused)
{
	struct counting counting = {.n = 3};
	par_iter *iter = iterate_over(NULL, &counting, PAR_SETTINGS(.n_jobs = {1, _i}));
	pthread_t thread;
	void *result;

	ck_assert_int_eq(pthread_create(&thread, NULL, use_it, iter), 0);
	pthread_join(thread, &result);
	ck_assert_ptr_eq(result, iter);
	assert_contains(scratch_log, "par_iter_close() by another thread");
	ck_assert_int_eq(take_all(iter, 1), 3);
	par_iter_close(iter, NULL);
}
END_TEST

START_TEST(without_a_source_or_a_sound_task_there_is_none)
{
	struct counting counting = {.n = 3};
	par_iter *iter = (par_iter *)&counting;

	ck_assert_int_eq(par_iter_open(&iter, NULL, &par_task_stuck_double, NULL, NULL, NULL, &error), PAR_EINVAL);
	ck_assert_ptr_null(iter);
	ck_assert_int_eq(par_iter_open(&iter, NULL, &par_task_stuck_double, count, &counting,
	                               PAR_SETTINGS(.n_jobs = PAR_SET(0)), &error),
	                 PAR_EINVAL);
	ck_assert_ptr_null(iter);
}
END_TEST

/* --- failures ------------------------------------------------------------------------------------ */

/* Six fails once those before it have begun, which end then; else the call could end by it before
 * another worker gets to them. */
static int picky(par_env *env, const int64_t *from, int64_t *to)
{
	*to = 2 * *from;
	if (*from < 6)
		sem_post(&stuck.inside);
	if (*from != 6)
		return 0;
	stuck_await(5);
	return par_fail_task(env, 8, "six will not do");
}
PAR_TASK_ENV(picky, int64_t, int64_t)

static par_iter *open_picky(struct counting *counting, const par_settings *settings)
{
	par_iter *iter;

	ck_assert_int_eq(par_iter_open(&iter, NULL, &par_task_picky, count, counting, settings, &error), PAR_OK);
	return iter;
}

START_TEST(what_came_before_a_failure_is_had_first_and_the_error_again_and_again)
{
	struct counting counting = {.n = 10};
	par_iter *iter = open_picky(&counting, PAR_SETTINGS(.n_jobs = {1, _i}));
	const par_outcome *outcome;

	for (uint64_t i = 0; i < 5; i++) {
		ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
		ck_assert_uint_eq(outcome->index, i);
		ck_assert_int_eq(outcome->status, PAR_OK);
	}
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
	ck_assert_int_eq(outcome->status, PAR_EFAILED);
	ck_assert_str_eq(outcome->message, "six will not do");
	while (par_iter_next(iter, &outcome, &error) == 1)
		ck_assert_int_eq(outcome->status, PAR_OK);
	for (int i = 0; i < 3; i++) {
		error = (par_error)PAR_ERROR_INIT;
		ck_assert_int_eq(par_iter_next(iter, &outcome, &error), PAR_EFAILED);
		ck_assert_ptr_null(outcome);
		ck_assert_int_eq(error.task, 5);
		ck_assert_str_eq(error.reason, "six will not do");
	}
	par_iter_close(iter, NULL);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(to_collect_has_all_and_then_the_error)
{
	struct counting counting = {.n = 10};
	par_iter *iter = open_picky(&counting, PAR_SETTINGS(.n_jobs = {1, _i}, .on_error = PAR_COLLECT));
	const par_outcome *outcome;

	for (uint64_t i = 0; i < 10; i++) {
		ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
		ck_assert_int_eq(outcome->status, i == 5 ? PAR_EFAILED : PAR_OK);
	}
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), PAR_EFAILED);
	par_iter_close(iter, NULL);
}
END_TEST

START_TEST(to_ignore_has_the_others)
{
	struct counting counting = {.n = 10};
	par_iter *iter = open_picky(&counting, PAR_SETTINGS(.n_jobs = {1, _i}, .on_error = PAR_IGNORE, .order = PAR_ORDERED));
	const par_outcome *outcome;
	int n = 0;

	for (; par_iter_next(iter, &outcome, &error) == 1; n++)
		ck_assert_uint_eq(outcome->index, (uint64_t)(n < 5 ? n : n + 1));
	ck_assert_int_eq(n, 9);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 0);
	par_iter_close(iter, NULL);
}
END_TEST

START_TEST(a_source_that_fails_ends_it)
{
	struct counting counting = {.n = -4};
	par_iter *iter = iterate_over(NULL, &counting, PAR_SETTINGS(.n_jobs = {1, _i}));
	const par_outcome *outcome;
	int32_t code;

	while ((code = par_iter_next(iter, &outcome, &error)) == 1)
		ck_assert_int_eq(outcome->status, PAR_OK);
	ck_assert_int_eq(code, PAR_ESOURCE);
	par_iter_close(iter, NULL);
}
END_TEST

static void *cancel_it(void *pool)
{
	par_cancel(pool);
	return NULL;
}

START_TEST(it_can_be_cancelled)
{
	struct numbers numbers = NUMBERS(1, -2);
	par_parallel *pool = open_pool(2);
	const par_outcome *outcome;
	pthread_t thread;
	par_iter *iter;

	ck_assert_int_eq(par_iter_open(&iter, pool, &par_task_stuck_double, give_number, &numbers, NULL, &error), PAR_OK);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
	stuck_await(1);
	ck_assert_int_eq(pthread_create(&thread, NULL, cancel_it, pool), 0);
	pthread_join(thread, NULL);
	stuck_release(1);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), PAR_ECANCELED);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), PAR_ECANCELED);
	par_iter_close(iter, NULL);
	par_close(pool);
}
END_TEST

/* --- a consumer that does not ask ------------------------------------------------------------------ */

START_TEST(tasks_run_ahead_of_who_does_not_ask_are_bounded)
{
	const struct timespec nap = {.tv_nsec = 1000000};
	par_thrown thrown = {.size = sizeof(thrown)};
	struct counting counting = {.n = 100000};
	par_iter *iter = iterate_over(NULL, &counting, PAR_SETTINGS(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1),
	                                                            .pre_dispatch = "8", .order = _i));
	const par_outcome *outcome;

	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
	/* Those that may run do; the others never will. */
	for (int i = 0; i < 20; i++)
		(void)nanosleep(&nap, NULL);
	ck_assert_int_le(counting.given, 2 * 1024 + 8);
	ck_assert_int_le(stuck.n_run, 2 * 1024 + 8);
	par_iter_close(iter, &thrown);
}
END_TEST

/* --- all of them ---------------------------------------------------------------------------------- */

START_TEST(a_list_has_all_of_them)
{
	struct counting counting = {.n = 1000};
	par_outcome **outcomes;
	int64_t number;
	uint64_t n;

	ck_assert_int_eq(par_list(NULL, &par_task_stuck_double, count, &counting, PAR_SETTINGS(.n_jobs = {1, _i}),
	                          &outcomes, &n, &error),
	                 PAR_OK);
	ck_assert_uint_eq(n, 1000);
	ck_assert_ptr_null(outcomes[n]);
	for (uint64_t i = 0; i < n; i++) {
		ck_assert_uint_eq(outcomes[i]->index, i);
		memcpy(&number, outcomes[i]->bytes, sizeof(number));
		ck_assert_int_eq(number, 2 * (int64_t)(i + 1));
	}
	par_list_free(outcomes);
	par_list_free(NULL);
}
END_TEST

START_TEST(a_list_of_none_ends_at_once)
{
	struct counting counting = {.n = 0};
	par_outcome **outcomes;
	uint64_t n = 7;

	ck_assert_int_eq(par_list(NULL, &par_task_stuck_double, count, &counting, NULL, &outcomes, &n, &error), PAR_OK);
	ck_assert_uint_eq(n, 0);
	ck_assert_ptr_nonnull(outcomes);
	ck_assert_ptr_null(outcomes[0]);
	par_list_free(outcomes);
}
END_TEST

START_TEST(a_list_has_what_came_before_a_failure)
{
	struct counting counting = {.n = 10};
	par_outcome **outcomes;
	uint64_t n;

	ck_assert_int_eq(par_list(NULL, &par_task_picky, count, &counting, PAR_SETTINGS(.n_jobs = {1, _i}), &outcomes,
	                          &n, &error),
	                 PAR_EFAILED);
	ck_assert_uint_ge(n, 6);
	ck_assert_int_eq(outcomes[5]->status, PAR_EFAILED);
	ck_assert_str_eq(outcomes[5]->message, "six will not do");
	assert_contains(outcomes[5]->trace, "test_iter.c:");
	ck_assert_ptr_null(outcomes[n]);
	par_list_free(outcomes);
}
END_TEST

START_TEST(a_list_without_a_source_is_refused)
{
	par_outcome **outcomes;
	uint64_t n;

	ck_assert_int_eq(par_list(NULL, &par_task_picky, NULL, NULL, NULL, &outcomes, &n, &error), PAR_EINVAL);
	ck_assert_uint_eq(n, 0);
	par_list_free(outcomes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iter");
	TCase *tests = tcase_create("iter"), *plain = tcase_create("plain");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_test(tests, a_result_that_came_while_it_opened_is_the_first);
	tcase_add_test(tests, a_result_that_nobody_asked_for_is_counted_as_thrown_away);
	suite_add_tcase(suite, plain);
	tcase_add_checked_fixture(plain, begin_plain, scratch_end);
	tcase_add_loop_test(plain, results_come_in_order, 1, 4);
	tcase_add_loop_test(plain, or_as_they_are_over, 1, 4);
	tcase_add_test(plain, unordered_one_that_is_stuck_holds_nobody_up);
	tcase_add_loop_test(plain, nothing_gives_nothing, 1, 3);
	tcase_add_loop_test(plain, its_end_is_told_again, 1, 3);
	tcase_add_test(plain, workers_have_their_first_tasks_when_it_is_opened);
	tcase_add_test(plain, one_worker_on_the_same_thread_does_nothing_before_it_is_asked);
	tcase_add_loop_test(plain, what_is_thrown_away_is_counted, 1, 4);
	tcase_add_test(plain, who_does_not_ask_what_was_thrown_away_is_warned);
	tcase_add_loop_test(plain, a_pool_can_be_used_again_when_it_was_closed_early, 1, 4);
	tcase_add_test(plain, with_memory_of_the_caller_closing_waits_for_the_tasks);
	tcase_add_test(plain, several_may_be_open_at_once);
	tcase_add_loop_test(plain, its_pool_is_busy_until_it_is_closed, 1, 3);
	tcase_add_loop_test(plain, another_thread_is_refused, 1, 3);
	tcase_add_test(plain, without_a_source_or_a_sound_task_there_is_none);
	tcase_add_loop_test(plain, what_came_before_a_failure_is_had_first_and_the_error_again_and_again, 1, 4);
	tcase_add_loop_test(plain, to_collect_has_all_and_then_the_error, 1, 3);
	tcase_add_loop_test(plain, to_ignore_has_the_others, 1, 3);
	tcase_add_loop_test(plain, a_source_that_fails_ends_it, 1, 3);
	tcase_add_test(plain, it_can_be_cancelled);
	tcase_add_loop_test(plain, tasks_run_ahead_of_who_does_not_ask_are_bounded, PAR_ORDERED, PAR_UNORDERED + 1);
	tcase_add_loop_test(plain, a_list_has_all_of_them, 1, 4);
	tcase_add_test(plain, a_list_of_none_ends_at_once);
	tcase_add_loop_test(plain, a_list_has_what_came_before_a_failure, 1, 3);
	tcase_add_test(plain, a_list_without_a_source_is_refused);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
