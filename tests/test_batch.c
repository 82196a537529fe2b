#include "batch.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>

static struct batch_table table;

static void begin(void)
{
	ck_assert_int_eq(batch_table_init(&table, 3), 0);
}

static void end(void)
{
	batch_table_finish(&table);
}

static par_batch open_one(struct batch **batch)
{
	*batch = batch_open(&table);
	ck_assert_ptr_nonnull(*batch);
	return batch_handle(&table, *batch);
}

START_TEST(a_batch_goes_out_runs_and_comes_back)
{
	const par_how how = {.size = sizeof(how), .pid = 42, .signal = 9, .exit_code = -1};
	struct batch *batch;
	par_batch handle = open_one(&batch);

	ck_assert_uint_ne(handle, 0);
	ck_assert_uint_eq(table.n_out, 1);
	ck_assert_ptr_eq(batch_begin(&table, handle), batch);
	ck_assert_int_eq(batch_end(&table, batch), 0);
	ck_assert(!batch_has_completed(&table));
	ck_assert_int_eq(batch_complete(&table, handle, PAR_ELOST, &how), 1);
	ck_assert(batch_has_completed(&table));
	ck_assert_ptr_eq(batch_take_completed(&table), batch);
	ck_assert_ptr_null(batch->next);
	ck_assert_int_eq(batch->status, PAR_ELOST);
	ck_assert_int_eq(batch->how.pid, 42);
	ck_assert_int_eq(batch->how.signal, 9);
	batch_close(&table, batch);
	ck_assert_uint_eq(table.n_out, 0);
	ck_assert_uint_eq(table.refused, 0);
}
END_TEST

START_TEST(no_more_are_out_than_there_are_places)
{
	struct batch *batch;

	for (int i = 0; i < 3; i++)
		(void)open_one(&batch);
	ck_assert_ptr_null(batch_open(&table));
	batch_close(&table, batch);
	ck_assert_ptr_nonnull(batch_open(&table));
}
END_TEST

START_TEST(a_second_done_is_refused)
{
	struct batch *batch;
	par_batch handle = open_one(&batch);

	ck_assert_int_eq(batch_complete(&table, handle, PAR_OK, NULL), 1);
	ck_assert_int_eq(batch_complete(&table, handle, PAR_EFAILED, NULL), -1);
	ck_assert_ptr_null(batch_begin(&table, handle));
	ck_assert_ptr_eq(batch_take_completed(&table), batch);
	ck_assert_ptr_null(batch_take_completed(&table));
	ck_assert_int_eq(batch->status, PAR_OK);
	ck_assert_uint_eq(table.refused, 2);
}
END_TEST

START_TEST(a_late_done_does_not_hit_the_next_batch_in_its_place)
{
	struct batch *batch, *next;
	par_batch handle = open_one(&batch), after;

	batch_close(&table, batch);
	after = open_one(&next);
	ck_assert_ptr_eq(next, batch);
	ck_assert_uint_ne(after, handle);
	ck_assert_int_eq(batch_complete(&table, handle, PAR_OK, NULL), -1);
	ck_assert_ptr_null(batch_begin(&table, handle));
	ck_assert_int_eq(batch_complete(&table, after, PAR_OK, NULL), 1);
}
END_TEST

START_TEST(invented_handles_are_refused)
{
	static const par_batch invented[] = {0, 1, 2, 3, UINT32_MAX, UINT64_MAX, (uint64_t)1 << 32 | 3,
	                                     (uint64_t)2 << 32, (uint64_t)1 << 63};
	struct batch *batch;

	(void)open_one(&batch);
	for (size_t i = 0; i < sizeof(invented) / sizeof(invented[0]); i++) {
		ck_assert_int_eq(batch_complete(&table, invented[i], PAR_OK, NULL), -1);
		ck_assert_ptr_null(batch_begin(&table, invented[i]));
	}
	ck_assert_ptr_null(batch_take_completed(&table));
}
END_TEST

START_TEST(a_place_that_is_free_cannot_be_run_or_completed)
{
	struct batch *batch;
	par_batch handle = open_one(&batch);
	par_batch next = handle + ((uint64_t)1 << 32);

	batch_close(&table, batch);
	/* The generation is right already, but nothing is out. */
	ck_assert_int_eq(batch_complete(&table, next, PAR_OK, NULL), -1);
	ck_assert_ptr_null(batch_begin(&table, next));
}
END_TEST

START_TEST(one_that_runs_is_not_begun_again)
{
	struct batch *batch;
	par_batch handle = open_one(&batch);

	ck_assert_ptr_eq(batch_begin(&table, handle), batch);
	ck_assert_ptr_null(batch_begin(&table, handle));
	ck_assert_int_eq(batch_end(&table, batch), 0);
	/* A backend that reruns by itself may. */
	ck_assert_ptr_eq(batch_begin(&table, handle), batch);
}
END_TEST

START_TEST(one_that_is_given_back_while_it_runs_comes_when_it_ends)
{
	struct batch *batch;
	par_batch handle = open_one(&batch);

	ck_assert_ptr_eq(batch_begin(&table, handle), batch);
	ck_assert_int_eq(batch_complete(&table, handle, PAR_OK, NULL), 0);
	ck_assert(!batch_has_completed(&table));
	ck_assert_int_eq(batch_complete(&table, handle, PAR_OK, NULL), -1);
	ck_assert_int_eq(batch_end(&table, batch), 1);
	ck_assert_ptr_eq(batch_take_completed(&table), batch);
}
END_TEST

START_TEST(they_come_oldest_first)
{
	struct batch *batches[3], *came;
	par_batch handles[3];

	for (int i = 0; i < 3; i++)
		handles[i] = open_one(&batches[i]);
	ck_assert_int_eq(batch_complete(&table, handles[1], PAR_OK, NULL), 1);
	ck_assert_int_eq(batch_complete(&table, handles[2], PAR_OK, NULL), 1);
	ck_assert_int_eq(batch_complete(&table, handles[0], PAR_OK, NULL), 1);
	came = batch_take_completed(&table);
	ck_assert_ptr_eq(came, batches[1]);
	ck_assert_ptr_eq(came->next, batches[2]);
	ck_assert_ptr_eq(came->next->next, batches[0]);
	ck_assert_ptr_null(came->next->next->next);
}
END_TEST

START_TEST(a_how_that_is_too_short_is_not_read)
{
	const par_how how = {.size = 8, .pid = 42, .signal = 9};
	struct batch *batch;
	par_batch handle = open_one(&batch);

	ck_assert_int_eq(batch_complete(&table, handle, PAR_OK, &how), 1);
	ck_assert_int_eq(batch->how.pid, 0);
	ck_assert_int_eq(batch->how.signal, 0);
}
END_TEST

START_TEST(a_generation_never_becomes_0)
{
	struct batch *batch;

	(void)open_one(&batch);
	atomic_store(&batch->tag, (uint64_t)UINT32_MAX << 3 | (atomic_load(&batch->tag) & 7));
	ck_assert_uint_eq(batch_handle(&table, batch) >> 32, UINT32_MAX);
	batch_close(&table, batch);
	(void)open_one(&batch);
	ck_assert_uint_ne(batch_handle(&table, batch) >> 32, 0);
	ck_assert_ptr_eq(batch_begin(&table, batch_handle(&table, batch)), batch);
}
END_TEST

/* --- real threads -------------------------------------------------------------------------- */

static _Atomic uint64_t current; /* the handle that is out; 1: the end */
static _Atomic int completed, began;

/* Both threads run and complete whatever is out, as often as they can. */
static void *complete_it_again(void *arg)
{
	par_batch handle;
	struct batch *batch;

	(void)arg;
	while ((handle = atomic_load(&current)) != 1) {
		batch = batch_begin(&table, handle);
		if (batch != NULL) {
			atomic_fetch_add(&began, 1);
			atomic_fetch_add(&completed, batch_end(&table, batch));
		}
		atomic_fetch_add(&completed, batch_complete(&table, handle, PAR_OK, NULL) == 1);
	}
	return NULL;
}

START_TEST(of_threads_that_complete_one_just_one_does)
{
	/* valgrind runs one thread at a time, of which each looks out for another for its whole turn. */
	const int rounds = getenv("UNDER_VALGRIND") != NULL ? 100 : 2000;
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, complete_it_again, NULL), 0);
	for (int i = 0; i < rounds; i++) {
		struct batch *batch, *came;

		atomic_store(&current, open_one(&batch));
		while ((came = batch_take_completed(&table)) == NULL)
			;
		ck_assert_ptr_eq(came, batch);
		ck_assert_ptr_null(came->next);
		batch_close(&table, batch);
	}
	atomic_store(&current, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(completed, rounds);
	ck_assert_int_ge(began, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("batch");
	TCase *tests = tcase_create("batch");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, a_batch_goes_out_runs_and_comes_back);
	tcase_add_test(tests, no_more_are_out_than_there_are_places);
	tcase_add_test(tests, a_second_done_is_refused);
	tcase_add_test(tests, a_late_done_does_not_hit_the_next_batch_in_its_place);
	tcase_add_test(tests, invented_handles_are_refused);
	tcase_add_test(tests, a_place_that_is_free_cannot_be_run_or_completed);
	tcase_add_test(tests, one_that_runs_is_not_begun_again);
	tcase_add_test(tests, one_that_is_given_back_while_it_runs_comes_when_it_ends);
	tcase_add_test(tests, they_come_oldest_first);
	tcase_add_test(tests, a_how_that_is_too_short_is_not_read);
	tcase_add_test(tests, a_generation_never_becomes_0);
	tcase_add_test(tests, of_threads_that_complete_one_just_one_does);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
