#include "results.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct call call;
static struct results results;
static uint64_t came[64], n_came, forgotten;
static par_outcome last;
static uint64_t stop_at;

static int32_t sink(void *user, const par_outcome *outcome)
{
	ck_assert_ptr_eq(user, &call);
	ck_assert_int_eq(results.in_sink, 1);
	came[n_came++] = outcome->index;
	last = *outcome;
	return n_came == stop_at;
}

static void forget(void *arg, const struct slot *slot)
{
	ck_assert_ptr_eq(arg, &forgotten);
	ck_assert_int_ne(slot->state, SLOT_FREE);
	forgotten++;
}

static void begin(void)
{
	memset(&call, 0, sizeof(call));
	ck_assert_int_eq(cursor_init(&call.cursor, 1), 0);
	ck_assert_int_eq(slots_init(&call.slots, 64, 0), 0);
	results = (struct results){.sink = sink, .user = &call, .forget = forget,
	                           .forget_arg = &forgotten};
	n_came = forgotten = 0;
	stop_at = UINT64_MAX;
	for (uint64_t i = 0; i < 64; i++)
		atomic_store(&slots_at(&call.slots, i)->state, SLOT_READY);
	cursor_extend(&call.cursor, 64);
}

static void end(void)
{
	slots_finish(&call.slots);
	cursor_finish(&call.cursor);
}

static struct slot *finish(uint64_t index)
{
	struct slot *slot = slots_at(&call.slots, index);

	slot->out.inside = index * 3;
	slot->out_size = 8;
	atomic_store(&slot->state, SLOT_DONE);
	return slot;
}

/* As a worker lists it. */
static void finish_unordered(uint64_t index)
{
	struct slot *slot = finish(index);
	uint64_t head = atomic_load(&call.done_list);

	slot->link = (uint32_t)(head - 1);
	slot->flags = (uint8_t)(head > 0 ? SLOT_CHAINED : 0);
	atomic_store(&call.done_list, index + 1);
}

START_TEST(in_order_one_waits_for_those_before_it)
{
	finish(1);
	finish(2);
	ck_assert_uint_eq(results_deliver(&results, &call, 4), 0);
	finish(0);
	ck_assert_uint_eq(results_deliver(&results, &call, 4), 3);
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_uint_eq(came[i], i);
	ck_assert_uint_eq(results.delivered, 3);
	ck_assert_uint_eq(results.oldest, 3);
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_int_eq(slots_at(&call.slots, i)->state, SLOT_FREE);
	ck_assert_uint_eq(results_deliver(&results, &call, 4), 0);
}
END_TEST

START_TEST(what_was_not_taken_is_not_delivered)
{
	finish(0);
	finish(1);
	ck_assert_uint_eq(results_deliver(&results, &call, 1), 1);
}
END_TEST

START_TEST(unordered_they_come_as_they_are_over)
{
	call.unordered = 1;
	finish_unordered(5);
	finish_unordered(2);
	finish_unordered(7);
	ck_assert_uint_eq(results_deliver(&results, &call, 8), 3);
	ck_assert_uint_eq(came[0], 5);
	ck_assert_uint_eq(came[1], 2);
	ck_assert_uint_eq(came[2], 7);
	ck_assert_uint_eq(results.oldest, 0);
	finish_unordered(0);
	finish_unordered(1);
	ck_assert_uint_eq(results_deliver(&results, &call, 8), 2);
	ck_assert_uint_eq(results.oldest, 3);
	ck_assert_uint_eq(results_deliver(&results, &call, 8), 0);
	ck_assert_uint_eq(n_came, 5);
}
END_TEST

START_TEST(an_outcome_has_the_reply_and_the_payload)
{
	struct slot *slot = finish(0);

	memcpy(&slot->in, "payload", 7);
	slot->in_size = 7;
	ck_assert_uint_eq(results_deliver(&results, &call, 1), 1);
	ck_assert_int_eq(last.status, PAR_OK);
	ck_assert_uint_eq(last.n_bytes, 8);
	ck_assert_uint_eq(last.payload_bytes, 7);
	ck_assert_ptr_eq(last.payload, &slot->in);
	ck_assert_ptr_eq(last.bytes, &slot->out);
	ck_assert_uint_eq(last.size, sizeof(par_outcome));
}
END_TEST

/* The dispatcher counts what such a payload takes. */
START_TEST(one_with_something_outside_its_slot_is_told_before_it_is_cleared)
{
	struct slot *slot = finish(0);

	slot->in.pointer = &call;
	slot->flags = SLOT_IN_STAYS;
	ck_assert_uint_eq(results_deliver(&results, &call, 1), 1);
	ck_assert_ptr_eq(last.payload, &call);
	ck_assert_uint_eq(forgotten, 1);
	slots_at(&call.slots, 1)->flags = SLOT_IN_STAYS;
	results_drop(&results, &call, 2);
	ck_assert_uint_eq(forgotten, 2);
}
END_TEST

START_TEST(a_failed_one_has_its_code_and_no_bytes)
{
	struct slot *slot = finish(0);

	slot->flags = SLOT_FAILED;
	slot->out.inside = (uint32_t)-7;
	ck_assert_uint_eq(results_deliver(&results, &call, 1), 1);
	ck_assert_int_eq(last.status, PAR_EFAILED);
	ck_assert_int_eq(last.code, -7);
	ck_assert_ptr_null(last.message);
	ck_assert_ptr_null(last.bytes);
	ck_assert_uint_eq(last.n_bytes, 0);
}
END_TEST

START_TEST(a_failed_one_may_say_why)
{
	struct arena arena;
	struct slot_failure *failure;
	struct slot *slot = finish(0);

	arena_init(&arena);
	failure = arena_alloc(&arena, sizeof(*failure) + 20);
	*failure = (struct slot_failure){
		.status = PAR_EFAILED, .code = 4, .attempts = 2, .worker = 1, .message = 1, .trace = 10};
	memcpy(failure->text, "too late\0x.c:7", 15);
	slot->out.pointer = failure;
	slot->flags = SLOT_FAILED | SLOT_OUT_ARENA;
	arena_hold(failure);
	ck_assert_uint_eq(results_deliver(&results, &call, 1), 1);
	ck_assert_int_eq(last.code, 4);
	ck_assert_str_eq(last.message, "too late");
	ck_assert_str_eq(last.type, "PAR_EFAILED");
	ck_assert_str_eq(last.trace, "x.c:7");
	ck_assert_int_eq(last.attempts, 2);
	ck_assert_int_eq(last.worker, 1);
	arena_release(failure);
	arena_finish(&arena);
}
END_TEST

START_TEST(a_sink_that_asks_to_stop_gets_no_more)
{
	for (uint64_t i = 0; i < 4; i++)
		finish(i);
	stop_at = 2;
	ck_assert_uint_eq(results_deliver(&results, &call, 4), 2);
	ck_assert_int_eq(results.stopped, 1);
	ck_assert_uint_eq(results_deliver(&results, &call, 4), 0);
	ck_assert_uint_eq(n_came, 2);
	results_drop(&results, &call, 4);
	for (uint64_t i = 0; i < 4; i++)
		ck_assert_int_eq(slots_at(&call.slots, i)->state, SLOT_FREE);
	ck_assert_uint_eq(n_came, 2);
}
END_TEST

START_TEST(unordered_a_sink_that_asks_to_stop_gets_no_more)
{
	call.unordered = 1;
	for (uint64_t i = 0; i < 4; i++)
		finish_unordered(i);
	stop_at = 2;
	(void)results_deliver(&results, &call, 4);
	ck_assert_uint_eq(n_came, 2);
	results_drop(&results, &call, 4);
	for (uint64_t i = 0; i < 4; i++)
		ck_assert_int_eq(slots_at(&call.slots, i)->state, SLOT_FREE);
}
END_TEST

START_TEST(nobody_has_to_listen)
{
	results.sink = NULL;
	finish(0);
	ck_assert_uint_eq(results_deliver(&results, &call, 1), 1);
	ck_assert_uint_eq(results.delivered, 1);
	ck_assert_int_eq(slots_at(&call.slots, 0)->state, SLOT_FREE);
}
END_TEST

START_TEST(dropping_clears_those_that_were_not_run_as_well)
{
	finish(1);
	results_drop(&results, &call, 3);
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_int_eq(slots_at(&call.slots, i)->state, SLOT_FREE);
	ck_assert_int_eq(slots_at(&call.slots, 3)->state, SLOT_READY);
	ck_assert_uint_eq(n_came, 0);
}
END_TEST

/* --- patience ------------------------------------------------------------------------------- */

START_TEST(the_next_result_is_overdue_after_the_timeout)
{
	results.timeout_ns = 100;
	results.since_ns = 1000;
	ck_assert(!results_overdue(&results, 0, 1, 1099));
	ck_assert(results_overdue(&results, 0, 1, 1100));
	/* One came: the wait begins anew. */
	ck_assert(!results_overdue(&results, 1, 1, 1100));
	ck_assert(!results_overdue(&results, 1, 1, 1199));
	ck_assert(results_overdue(&results, 1, 1, 1200));
}
END_TEST

START_TEST(where_nothing_is_awaited_nothing_is_overdue)
{
	results.timeout_ns = 100;
	ck_assert(!results_overdue(&results, 0, 0, 5000));
	ck_assert(!results_overdue(&results, 0, 1, 5099));
	ck_assert(results_overdue(&results, 0, 1, 5100));
}
END_TEST

START_TEST(without_a_timeout_nothing_is_overdue)
{
	ck_assert(!results_overdue(&results, 0, 1, INT64_MAX));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("results");
	TCase *tests = tcase_create("results");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, in_order_one_waits_for_those_before_it);
	tcase_add_test(tests, what_was_not_taken_is_not_delivered);
	tcase_add_test(tests, unordered_they_come_as_they_are_over);
	tcase_add_test(tests, an_outcome_has_the_reply_and_the_payload);
	tcase_add_test(tests, one_with_something_outside_its_slot_is_told_before_it_is_cleared);
	tcase_add_test(tests, a_failed_one_has_its_code_and_no_bytes);
	tcase_add_test(tests, a_failed_one_may_say_why);
	tcase_add_test(tests, a_sink_that_asks_to_stop_gets_no_more);
	tcase_add_test(tests, unordered_a_sink_that_asks_to_stop_gets_no_more);
	tcase_add_test(tests, nobody_has_to_listen);
	tcase_add_test(tests, dropping_clears_those_that_were_not_run_as_well);
	tcase_add_test(tests, the_next_result_is_overdue_after_the_timeout);
	tcase_add_test(tests, where_nothing_is_awaited_nothing_is_overdue);
	tcase_add_test(tests, without_a_timeout_nothing_is_overdue);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
