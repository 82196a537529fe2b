#include "dispatcher.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct call call;
static struct dispatcher dispatcher;
static par_error error;

/* --- a source ------------------------------------------------------------------------------ */

static int32_t typed_range(par_env *env, const void *in, void *out, uint64_t n, uint64_t *at)
{
	(void)env, (void)in, (void)out, (void)n, (void)at;
	return 0;
}

static int32_t bytes(par_env *env, const void *payload, uint64_t size)
{
	(void)env, (void)payload, (void)size;
	return 0;
}

static const par_task typed = {
	.size = sizeof(par_task), .abi = PAR_TASK_ABI, .name = "typed", .kind = PAR_TASK_TYPED,
	.in_size = 8, .out_size = 8, .range = typed_range};
static const par_task loose = {
	.size = sizeof(par_task), .abi = PAR_TASK_ABI, .name = "loose", .kind = PAR_TASK_BYTES,
	.bytes = bytes};

static char large[100000];
static par_item given; /* what the source gives, over and over */
static int64_t n_left;
static int32_t then;

static int32_t source(void *user, par_item *item)
{
	(void)user;
	if (n_left == 0)
		return then;
	n_left--;
	item->stays = given.stays;
	item->payload = given.payload;
	item->n_bytes = given.n_bytes;
	if (given.task != NULL)
		item->task = given.task;
	return 1;
}

static void begin(void)
{
	memset(&call, 0, sizeof(call));
	call.is_stream = 1;
	call.open = 1;
	ck_assert_int_eq(cursor_init(&call.cursor, 2), 0);
	ck_assert_int_eq(slots_init(&call.slots, 64, 0), 0);
	dispatcher = (struct dispatcher){
		.source = source, .task = &loose, .pre_dispatch = 4, .window = 16, .room = 64};
	given = (par_item){.payload = "12345678", .n_bytes = 8};
	n_left = 1000;
	then = 0;
	error = (par_error)PAR_ERROR_INIT;
}

static void end(void)
{
	for (uint64_t i = 0; i < call.slots.base; i++)
		slot_clear(slots_at(&call.slots, i));
	arena_finish(&dispatcher.payloads);
	slots_finish(&call.slots);
	cursor_finish(&call.cursor);
}

static int32_t take(uint64_t delivered, uint64_t oldest, int completed)
{
	return dispatcher_take(&dispatcher, &call, delivered, oldest, completed, &error);
}

/* --- how many -------------------------------------------------------------------------------- */

START_TEST(takes_what_pre_dispatch_allows_before_the_first_is_over)
{
	ck_assert_int_eq(take(0, 0, 0), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 4);
	ck_assert_int_eq(take(0, 0, 0), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 4);
	ck_assert_uint_eq(cursor_unclaimed(&call.cursor), 4);
}
END_TEST

START_TEST(afterwards_a_window_bounds_what_is_not_delivered)
{
	ck_assert_int_eq(take(0, 0, 1), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 16);
	ck_assert_int_eq(take(5, 5, 1), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 21);
}
END_TEST

START_TEST(never_overruns_the_ring)
{
	dispatcher.window = 1000;
	ck_assert_int_eq(take(0, 0, 1), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 64);
	/* Unordered: later ones were delivered, but the oldest still stands in its slot. */
	ck_assert_int_eq(take(40, 0, 1), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 64);
}
END_TEST

START_TEST(takes_no_more_at_once_than_its_turn)
{
	dispatcher.turn = 3;
	ck_assert_int_eq(take(0, 0, 1), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 3);
	ck_assert(dispatcher_may_take(&dispatcher, &call, 0, 0, 1));
}
END_TEST

START_TEST(takes_nothing_once_the_call_stops)
{
	call_stop(&call);
	ck_assert_int_eq(take(0, 0, 1), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 0);
	ck_assert_uint_eq(dispatcher_batches(&call, 0, 2, 0), 0);
}
END_TEST

START_TEST(an_exhausted_source_is_not_asked_again)
{
	n_left = 2;
	ck_assert_int_eq(take(0, 0, 0), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 2);
	ck_assert_int_eq(dispatcher.exhausted, 1);
	ck_assert_int_eq(call.open, 0);
	n_left = 5;
	ck_assert_int_eq(take(0, 0, 0), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 2);
}
END_TEST

START_TEST(large_payloads_under_way_are_bounded)
{
	const uint64_t limit = (uint64_t)256 << 20;

	given = (par_item){.payload = large, .n_bytes = sizeof(large), .stays = 1};
	n_left = 10000;
	dispatcher.window = dispatcher.room = 8192;
	slots_finish(&call.slots);
	ck_assert_int_eq(slots_init(&call.slots, 8192, 0), 0);
	ck_assert_int_eq(take(0, 0, 1), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, limit / sizeof(large) + 1);
	dispatcher_delivered(&dispatcher, slots_at(&call.slots, 0));
	ck_assert_int_eq(take(1, 1, 1), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, limit / sizeof(large) + 2);
}
END_TEST

START_TEST(large_replies_that_wait_count_as_well)
{
	call.reply_bytes = (int64_t)256 << 20;
	ck_assert_int_eq(take(0, 0, 1), PAR_OK);
	ck_assert_uint_eq(dispatcher.taken, 4); /* as pre_dispatch asked for */
	ck_assert(!dispatcher_may_take(&dispatcher, &call, 0, 0, 1));
	/* Nothing is out: one more is always allowed. */
	ck_assert(dispatcher_may_take(&dispatcher, &call, 4, 4, 1));
}
END_TEST

/* --- what is in a slot ------------------------------------------------------------------------ */

START_TEST(small_payloads_lie_in_the_slot_and_larger_ones_are_copied)
{
	char text[] = "123456789";

	given.payload = text;
	n_left = 1;
	ck_assert_int_eq(take(0, 0, 0), PAR_OK);
	given.n_bytes = 9;
	n_left = 1;
	dispatcher.exhausted = 0;
	ck_assert_int_eq(take(0, 0, 0), PAR_OK);
	memset(text, 'x', sizeof(text));
	ck_assert_int_eq(memcmp(slot_payload(slots_at(&call.slots, 0)), "12345678", 8), 0);
	ck_assert_int_eq(memcmp(slot_payload(slots_at(&call.slots, 1)), "123456789", 9), 0);
}
END_TEST

START_TEST(what_stays_is_not_copied)
{
	given = (par_item){.payload = large, .n_bytes = 100, .stays = 1};
	ck_assert_int_eq(take(0, 0, 0), PAR_OK);
	ck_assert_ptr_eq(slot_payload(slots_at(&call.slots, 0)), large);
}
END_TEST

START_TEST(an_empty_payload_is_one_too)
{
	given = (par_item){.payload = NULL, .n_bytes = 0};
	ck_assert_int_eq(take(0, 0, 0), PAR_OK);
	ck_assert_uint_eq(slots_at(&call.slots, 0)->in_size, 0);
	ck_assert_ptr_nonnull(slot_payload(slots_at(&call.slots, 0)));
}
END_TEST

/* --- what is refused --------------------------------------------------------------------------- */

START_TEST(a_source_that_fails_ends_the_call)
{
	n_left = 3;
	then = -17;
	ck_assert_int_eq(take(0, 0, 0), PAR_ESOURCE);
	ck_assert_uint_eq(dispatcher.taken, 3);
	ck_assert_str_eq(error.what, "the source failed at task 3");
	ck_assert_str_eq(error.reason, "it returned -17");
}
END_TEST

START_TEST(a_typed_task_wants_its_own_size)
{
	dispatcher.task = &typed;
	given.n_bytes = 7;
	ck_assert_int_eq(take(0, 0, 0), PAR_EINVAL);
	ck_assert_str_eq(error.reason, "task \"typed\" takes 8 bytes, the source gave 7");
}
END_TEST

START_TEST(a_payload_without_bytes_or_beyond_4_gib_is_refused)
{
	given = (par_item){.payload = NULL, .n_bytes = 8};
	ck_assert_int_eq(take(0, 0, 0), PAR_EINVAL);
	given = (par_item){.payload = large, .n_bytes = (uint64_t)1 << 32, .stays = 1};
	ck_assert_int_eq(take(0, 0, 0), PAR_EINVAL);
	ck_assert_ptr_nonnull(strstr(error.reason, "4294967296 bytes"));
}
END_TEST

START_TEST(an_item_without_a_task_is_the_calls)
{
	dispatcher.task = NULL;
	ck_assert_int_eq(take(0, 0, 0), PAR_EINVAL);
	ck_assert_str_eq(error.what, "there is no task to run");
	given.task = &typed;
	ck_assert_int_eq(take(0, 0, 0), PAR_OK);
	ck_assert_ptr_eq(call.tasks[0], &typed);
	given.task = &loose;
	dispatcher.pre_dispatch = 5;
	ck_assert_int_eq(take(0, 0, 0), PAR_OK);
	ck_assert_ptr_eq(call.tasks[slots_at(&call.slots, 4)->task], &loose);
}
END_TEST

START_TEST(mixes_256_tasks_and_no_more)
{
	static par_task many[CALL_TASKS + 1];
	int32_t code = PAR_OK;

	dispatcher.pre_dispatch = 1;
	dispatcher.room = 1000;
	slots_finish(&call.slots);
	ck_assert_int_eq(slots_init(&call.slots, 512, 0), 0);
	for (int i = 0; i <= CALL_TASKS; i++) {
		many[i] = loose;
		given.task = &many[i];
		ck_assert_int_eq(code, PAR_OK);
		code = take(0, 0, 0);
		dispatcher.pre_dispatch++;
	}
	ck_assert_int_eq(code, PAR_EINVAL);
	ck_assert_ptr_nonnull(strstr(error.what, "256"));
	ck_assert_uint_eq(dispatcher.taken, CALL_TASKS);
}
END_TEST

START_TEST(a_description_that_is_not_sound_is_refused)
{
	par_task task = typed;

	ck_assert_int_eq(dispatcher_check_task(&typed, &error), PAR_OK);
	ck_assert_int_eq(dispatcher_check_task(&loose, &error), PAR_OK);
	ck_assert_int_eq(dispatcher_check_task(NULL, &error), PAR_EINVAL);
	task.range = NULL;
	ck_assert_int_eq(dispatcher_check_task(&task, &error), PAR_EINVAL);
	task = typed;
	task.kind = 3;
	ck_assert_int_eq(dispatcher_check_task(&task, &error), PAR_EINVAL);
	task = loose;
	task.bytes = NULL;
	ck_assert_int_eq(dispatcher_check_task(&task, &error), PAR_EINVAL);
	task = loose;
	task.abi++;
	ck_assert_int_eq(dispatcher_check_task(&task, &error), PAR_EINVAL);
	task = loose;
	task.size--;
	ck_assert_int_eq(dispatcher_check_task(&task, &error), PAR_EINVAL);
	ck_assert_ptr_nonnull(strstr(error.remedy, "task.h"));
}
END_TEST

/* --- batches ------------------------------------------------------------------------------------ */

START_TEST(no_more_batches_than_tasks_nor_than_are_allowed)
{
	ck_assert_uint_eq(dispatcher_batches(&call, 0, 2, 0), 0);
	cursor_extend(&call.cursor, 1);
	ck_assert_uint_eq(dispatcher_batches(&call, 0, 2, 0), 1);
	cursor_extend(&call.cursor, 9);
	ck_assert_uint_eq(dispatcher_batches(&call, 0, 2, 0), 2);
	ck_assert_uint_eq(dispatcher_batches(&call, 1, 2, 0), 1);
	ck_assert_uint_eq(dispatcher_batches(&call, 2, 2, 0), 0);
	ck_assert_uint_eq(dispatcher_batches(&call, 3, 2, 0), 0);
}
END_TEST

/* One that leaves at its quota leaves the rest of its chunk in its seat: if nobody is sent
 * for that, the call never ends. */
START_TEST(what_somebody_left_behind_is_worth_a_batch)
{
	uint64_t first;
	int32_t seat = cursor_sit(&call.cursor), other = cursor_sit(&call.cursor);

	cursor_extend(&call.cursor, 8);
	ck_assert_uint_eq(cursor_take(&call.cursor, (uint32_t)seat, 1, &first), 1);
	while (cursor_unclaimed(&call.cursor) > 0)
		ck_assert_uint_gt(cursor_take(&call.cursor, (uint32_t)other, 1, &first), 0);
	cursor_leave(&call.cursor, (uint32_t)seat);
	cursor_leave(&call.cursor, (uint32_t)other);
	ck_assert(!cursor_is_dry(&call.cursor));
	ck_assert_uint_ge(dispatcher_batches(&call, 0, 2, 0), 1);
	ck_assert_uint_eq(dispatcher_batches(&call, 2, 2, 0), 0);
	while (cursor_take(&call.cursor, (uint32_t)other, 1, &first) > 0)
		;
	ck_assert_uint_eq(dispatcher_batches(&call, 0, 2, 0), 0);
}
END_TEST

/* Who has claimed a chunk may be at a long task, while others have nothing to do. */
START_TEST(what_somebody_at_work_has_claimed_is_worth_a_batch)
{
	uint64_t first;
	int32_t seat = cursor_sit(&call.cursor), other = cursor_sit(&call.cursor);

	call.n_jobs = 2;
	cursor_extend(&call.cursor, 8);
	ck_assert_uint_eq(cursor_take(&call.cursor, (uint32_t)seat, 1, &first), 1);
	while (cursor_unclaimed(&call.cursor) > 0)
		ck_assert_uint_gt(cursor_take(&call.cursor, (uint32_t)other, 1, &first), 0);
	ck_assert_uint_eq(cursor_claimed(&call.cursor), 1);
	cursor_leave(&call.cursor, (uint32_t)other);
	ck_assert_uint_eq(cursor_waiting(&call.cursor), 0);
	ck_assert_uint_eq(dispatcher_batches(&call, 1, 2, 0), 1);
	/* Not for more workers than there are to be. */
	ck_assert_uint_eq(dispatcher_batches(&call, 2, 4, 0), 0);
	ck_assert_int_eq(cursor_sit(&call.cursor), other);
	ck_assert_uint_eq(cursor_take(&call.cursor, (uint32_t)other, 1, &first), 1);
	ck_assert_uint_eq(dispatcher_batches(&call, 1, 2, 0), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dispatcher");
	TCase *tests = tcase_create("dispatcher");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, takes_what_pre_dispatch_allows_before_the_first_is_over);
	tcase_add_test(tests, afterwards_a_window_bounds_what_is_not_delivered);
	tcase_add_test(tests, never_overruns_the_ring);
	tcase_add_test(tests, takes_no_more_at_once_than_its_turn);
	tcase_add_test(tests, takes_nothing_once_the_call_stops);
	tcase_add_test(tests, an_exhausted_source_is_not_asked_again);
	tcase_add_test(tests, large_payloads_under_way_are_bounded);
	tcase_add_test(tests, large_replies_that_wait_count_as_well);
	tcase_add_test(tests, small_payloads_lie_in_the_slot_and_larger_ones_are_copied);
	tcase_add_test(tests, what_stays_is_not_copied);
	tcase_add_test(tests, an_empty_payload_is_one_too);
	tcase_add_test(tests, a_source_that_fails_ends_the_call);
	tcase_add_test(tests, a_typed_task_wants_its_own_size);
	tcase_add_test(tests, a_payload_without_bytes_or_beyond_4_gib_is_refused);
	tcase_add_test(tests, an_item_without_a_task_is_the_calls);
	tcase_add_test(tests, mixes_256_tasks_and_no_more);
	tcase_add_test(tests, a_description_that_is_not_sound_is_refused);
	tcase_add_test(tests, no_more_batches_than_tasks_nor_than_are_allowed);
	tcase_add_test(tests, what_somebody_left_behind_is_worth_a_batch);
	tcase_add_test(tests, what_somebody_at_work_has_claimed_is_worth_a_batch);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
