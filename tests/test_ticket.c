#include "ticket.h"

#include <check.h>
#include <stdlib.h>
#include <time.h>

static struct call call;
static struct ticket_report report;
static int woken;

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void wake(void *arg)
{
	ck_assert_ptr_eq(arg, &call);
	woken++;
}

/* --- tasks --------------------------------------------------------------------------------- */

enum { N = 10000 };
static int64_t in[N], out[N];

static int twice(const int64_t *from, int64_t *to)
{
	*to = 2 * *from;
	return 0;
}
PAR_TASK(twice, int64_t, int64_t)

/* Fails for multiples of 10. */
static int picky(par_env *env, const int64_t *from, int64_t *to)
{
	if (*from % 10 == 0)
		return par_fail_task(env, 3, "%lld will not do", (long long)*from);
	*to = (int64_t)env->index;
	return 0;
}
PAR_TASK_ENV(picky, int64_t, int64_t)

static par_env seen_env;

static int look(par_env *env, const int64_t *from, int64_t *to)
{
	seen_env = *env;
	*to = *from + par_cancelled(env);
	return 0;
}
PAR_TASK_ENV(look, int64_t, int64_t)

/* Replies with as many bytes as it is told. */
static int swell(par_env *env, const void *payload, uint64_t size)
{
	uint64_t n;
	char *room;

	ck_assert_uint_eq(size, sizeof(n));
	memcpy(&n, payload, sizeof(n));
	room = par_reply_room(env, n);
	if (room == NULL)
		return 1;
	memset(room, 'r', (size_t)n);
	return 0;
}
PAR_TASK_OF_BYTES(swell)

/* Replies twice, then fails. */
static int regret(par_env *env, const void *payload, uint64_t size)
{
	(void)payload, (void)size;
	(void)par_reply_room(env, 100000);
	(void)par_reply_room(env, 50000);
	return par_fail_task(env, 9, "changed its mind");
}
PAR_TASK_OF_BYTES(regret)

static int stop_the_call(const int64_t *from, int64_t *to)
{
	*to = *from;
	call_stop(&call);
	return 0;
}
PAR_TASK(stop_the_call, int64_t, int64_t)

/* --- calls --------------------------------------------------------------------------------- */

static void begin(void)
{
	call_init(&call);
	memset(out, 0, sizeof(out));
	for (int i = 0; i < N; i++)
		in[i] = i;
	ck_assert_int_eq(call_seat(&call, 4), 0);
	call.unit = 1;
	call.clock = now;
	call.wake = wake;
	call.wake_arg = &call;
	call.context = (struct context){.depth = 3};
	woken = 0;
}

static void end(void)
{
	for (uint64_t i = 0; i < call.slots.base; i++)
		slot_clear(slots_at(&call.slots, i));
	slots_finish(&call.slots);
	call_finish(&call);
}

static void map(const par_task *task, uint64_t n)
{
	call.tasks[0] = task;
	call.n_tasks_known = 1;
	call.in = in;
	call.out = out;
	call.n_tasks = n;
	cursor_extend(&call.cursor, (n + call.unit - 1) / call.unit);
}

/* A stream of numbers for a task, in slots of their own. */
static void stream(const par_task *task, const uint64_t *numbers, uint64_t n)
{
	call.is_stream = 1;
	call.tasks[0] = task;
	call.n_tasks_known = 1;
	if (call.slots.base == 0)
		ck_assert_int_eq(slots_init(&call.slots, n, 0), 0);
	for (uint64_t i = 0; i < n; i++) {
		struct slot *slot = slots_at(&call.slots, i);

		slot->in.inside = numbers[i];
		slot->in_size = sizeof(numbers[i]);
		slot->task = 0;
		slot->flags = 0;
		atomic_store(&slot->state, SLOT_READY);
	}
	cursor_extend(&call.cursor, n);
}

START_TEST(runs_all_there_is)
{
	map(&par_task_twice, N);
	ticket_run(&call, 0, 0, &report);
	ck_assert_uint_eq(report.ran, N);
	ck_assert_int_gt(report.ns, 0);
	ck_assert_uint_eq(call.finished, N);
	ck_assert_uint_eq(call.seated, 0);
	ck_assert_int_gt(call.task_ns, 0);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(out[i], 2 * i);
}
END_TEST

START_TEST(a_quota_is_not_exceeded)
{
	map(&par_task_twice, 1000);
	for (uint64_t ran = 0; ran < 1000; ran += 7) {
		ticket_run(&call, 7, 0, &report);
		ck_assert_uint_eq(report.ran, 1000 - ran < 7 ? 1000 - ran : 7);
	}
	ticket_run(&call, 7, 0, &report);
	ck_assert_uint_eq(report.ran, 0);
	ck_assert_int_eq(out[999], 2 * 999);
}
END_TEST

START_TEST(a_quota_does_not_count_while_the_loop_helps)
{
	map(&par_task_twice, 1000);
	atomic_store(&call.helping, 1);
	ticket_run(&call, 7, 0, &report);
	ck_assert_uint_eq(report.ran, 1000);
}
END_TEST

/* Units of several tasks: the last one is not full. */
START_TEST(the_last_unit_may_be_short)
{
	call.unit = 300;
	map(&par_task_twice, 1000);
	ticket_run(&call, 0, 0, &report);
	ck_assert_int_eq(out[999], 2 * 999);
	ck_assert_int_eq(out[1000], 0);
	ck_assert(cursor_is_dry(&call.cursor));
}
END_TEST

START_TEST(no_more_sit_than_there_are_jobs)
{
	map(&par_task_twice, 10);
	atomic_store(&call.seated, 4);
	ticket_run(&call, 0, 0, &report);
	ck_assert_uint_eq(report.ran, 0);
	ck_assert_uint_eq(call.seated, 4);
	atomic_store(&call.seated, 3);
	ticket_run(&call, 0, 0, &report);
	ck_assert_uint_eq(report.ran, 10);
	ck_assert_uint_eq(call.seated, 3);
}
END_TEST

START_TEST(one_leaves_when_asked_to)
{
	map(&par_task_twice, N);
	call.piece = 10;
	atomic_store(&call.yield, 1);
	ticket_run(&call, 0, 0, &report);
	ck_assert_uint_gt(report.ran, 0);
	ck_assert_uint_lt(report.ran, N);
	ck_assert_int_eq(call.yield, 0);
	/* The loop's thread, which asked, does not. */
	atomic_store(&call.yield, 1);
	ticket_run(&call, 0, INT64_MAX, &report);
	ck_assert_int_eq(call.yield, 1);
	ck_assert(cursor_is_dry(&call.cursor));
}
END_TEST

START_TEST(nothing_is_begun_once_the_call_stops)
{
	map(&par_task_stop_the_call, N);
	call.piece = 1;
	ticket_run(&call, 0, 0, &report);
	ck_assert_uint_ge(report.ran, 1);
	ck_assert_uint_lt(report.ran, 100);
	ticket_run(&call, 0, 0, &report);
	ck_assert_uint_eq(report.ran, 0);
}
END_TEST

START_TEST(a_task_sees_where_it_runs)
{
	call.shared = "hello";
	call.shared_size = 5;
	map(&par_task_look, 3);
	ck_assert_int_eq(context_current()->level, 0);
	ticket_run(&call, 0, 0, &report);
	ck_assert_int_eq(context_current()->level, 0);
	ck_assert_int_eq(seen_env.level, 3);
	ck_assert_uint_eq(seen_env.index, 2);
	ck_assert_uint_eq(seen_env.shared_size, 5);
	ck_assert_ptr_eq(seen_env.shared, call.shared);
	ck_assert_uint_lt(seen_env.worker, 4);
	ck_assert_int_eq(out[2], 2);
}
END_TEST

/* --- failures -------------------------------------------------------------------------------- */

START_TEST(the_first_failure_stops_the_call)
{
	map(&par_task_picky, N);
	ticket_run(&call, 0, 0, &report);
	ck_assert(call_is_stopping(&call));
	ck_assert_int_eq(call.have_failure, 1);
	ck_assert_uint_eq(call.failure.index, 0);
	ck_assert_int_eq(call.failure.code, 3);
	ck_assert_str_eq(call.failure.text, "0 will not do");
	ck_assert_uint_eq(call.failed, 1);
}
END_TEST

START_TEST(collecting_goes_on_behind_each_failure)
{
	call.collect = 1;
	map(&par_task_picky, 1000);
	ticket_run(&call, 0, 0, &report);
	ck_assert(!call_is_stopping(&call));
	ck_assert_uint_eq(call.failed, 100);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(out[i], i % 10 == 0 ? 0 : i);
}
END_TEST

START_TEST(of_failures_the_first_in_order_is_kept)
{
	call.collect = 1;
	map(&par_task_picky, N);
	call_charge(&call, &(struct call_failure){.index = 7, .code = 1, .text = "seven"});
	call_charge(&call, &(struct call_failure){.index = 3, .code = 2});
	call_charge(&call, &(struct call_failure){.index = 5, .code = 3, .text = "five"});
	ck_assert_uint_eq(call.failure.index, 3);
	ck_assert_int_eq(call.failure.code, 2);
	ck_assert_str_eq(call.failure.text, "");
	ck_assert_uint_eq(call.failed, 3);
}
END_TEST

/* --- streams ----------------------------------------------------------------------------------- */

START_TEST(replies_of_any_size_lie_where_their_slot_says)
{
	static const uint64_t sizes[] = {0, 1, 8, 9, 1000, 100000};

	stream(&par_task_swell, sizes, 6);
	ticket_run(&call, 0, 0, &report);
	ck_assert_uint_eq(report.ran, 6);
	for (int i = 0; i < 6; i++) {
		struct slot *slot = slots_at(&call.slots, (uint64_t)i);
		const char *reply = slot_reply(slot);

		ck_assert_int_eq(slot->state, SLOT_DONE);
		ck_assert_uint_eq(slot->out_size, sizes[i]);
		for (uint64_t k = 0; k < sizes[i]; k++)
			ck_assert(reply[k] == 'r');
	}
	/* Only large ones count against the memory that replies may take. */
	ck_assert_int_eq(call.reply_bytes, 100000);
	call_forget(&call, slots_at(&call.slots, 5));
	ck_assert_int_eq(call.reply_bytes, 0);
}
END_TEST

START_TEST(a_reply_beyond_4_gib_is_refused_with_words)
{
	const uint64_t size = (uint64_t)1 << 32;

	stream(&par_task_swell, &size, 1);
	ticket_run(&call, 0, 0, &report);
	ck_assert_str_eq(call.failure.text, "its reply is larger than 4 GiB");
}
END_TEST

START_TEST(a_failure_takes_the_place_of_the_reply)
{
	const uint64_t number = 1;
	struct slot *slot;
	const struct slot_failure *failure;

	stream(&par_task_regret, &number, 1);
	ticket_run(&call, 0, 0, &report);
	slot = slots_at(&call.slots, 0);
	ck_assert_int_eq(slot->state, SLOT_DONE);
	ck_assert(slot->flags & SLOT_FAILED);
	ck_assert(slot->flags & SLOT_OUT_ARENA);
	failure = slot->out.pointer;
	ck_assert_int_eq(failure->code, 9);
	ck_assert_str_eq(failure->text, "changed its mind");
	ck_assert_int_eq(call.reply_bytes, 0);
}
END_TEST

START_TEST(a_typed_task_replies_with_its_value)
{
	const uint64_t numbers[] = {20, 21};

	stream(&par_task_twice, numbers, 2);
	ticket_run(&call, 0, 0, &report);
	ck_assert_uint_eq(slots_at(&call.slots, 1)->out_size, 8);
	ck_assert_uint_eq(*(const uint64_t *)slot_reply(slots_at(&call.slots, 1)), 42);
}
END_TEST

START_TEST(a_hungry_loop_is_woken_once)
{
	const uint64_t numbers[] = {1, 2, 3};

	atomic_store(&call.hungry, 1);
	stream(&par_task_twice, numbers, 3);
	ticket_run(&call, 0, 0, &report);
	ck_assert_int_eq(woken, 1);
	ck_assert_int_eq(call.hungry, 0);
}
END_TEST

START_TEST(a_loop_that_is_awake_is_left_alone)
{
	const uint64_t numbers[] = {1, 2, 3};

	stream(&par_task_twice, numbers, 3);
	ticket_run(&call, 0, 0, &report);
	ck_assert_int_eq(woken, 0);
}
END_TEST

START_TEST(unordered_tasks_are_listed_as_they_are_over)
{
	const uint64_t numbers[] = {1, 2, 3, 4, 5};
	unsigned char seen[5] = {0};
	uint64_t head, n = 0;

	call.unordered = 1;
	stream(&par_task_twice, numbers, 5);
	ck_assert_uint_eq(call_take_done(&call), 0);
	ticket_run(&call, 2, 0, &report);
	ticket_run(&call, 0, 0, &report);
	head = call_take_done(&call);
	ck_assert_uint_eq(call_take_done(&call), 0);
	while (head > 0) {
		const struct slot *slot = slots_at(&call.slots, head - 1);

		ck_assert_uint_eq(seen[head - 1]++, 0);
		n++;
		head = slot->flags & SLOT_CHAINED ? call_linked(5, slot->link) + 1 : 0;
	}
	ck_assert_uint_eq(n, 5);
}
END_TEST

START_TEST(links_are_whole_where_32_bits_wrap)
{
	const uint64_t above = ((uint64_t)7 << 32) + 10;

	ck_assert_uint_eq(call_linked(above, 10), above);
	ck_assert_uint_eq(call_linked(above, 3), above - 7);
	ck_assert_uint_eq(call_linked(above, UINT32_MAX), ((uint64_t)7 << 32) - 1);
}
END_TEST

/* --- real threads -------------------------------------------------------------------------------- */

static void *take_part_again_and_again(void *arg)
{
	struct ticket_report mine;
	uint64_t *ran = arg;

	do {
		ticket_run(&call, 50, 0, &mine);
		*ran += mine.ran;
	} while (!cursor_is_dry(&call.cursor));
	return NULL;
}

START_TEST(threads_share_a_call)
{
	pthread_t threads[4];
	uint64_t ran[4] = {0}, total = 0;

	call.collect = 1;
	map(&par_task_picky, N);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, take_part_again_and_again, &ran[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		total += ran[i];
	}
	ck_assert_uint_eq(total, N);
	ck_assert_uint_eq(call.finished, N);
	ck_assert_uint_eq(call.failed, N / 10);
	ck_assert_uint_eq(call.failure.index, 0);
	ck_assert_uint_eq(call.seated, 0);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(out[i], i % 10 == 0 ? 0 : i);
}
END_TEST

START_TEST(threads_list_each_task_of_a_stream_once)
{
	static uint64_t numbers[N];
	static unsigned char seen[N];
	pthread_t threads[3];
	uint64_t ran[3] = {0}, n = 0;

	call.unordered = 1;
	ck_assert_int_eq(slots_init(&call.slots, N, 0), 0);
	stream(&par_task_twice, numbers, N);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, take_part_again_and_again, &ran[i]), 0);
	while (n < N) {
		uint64_t head = call_take_done(&call);

		while (head > 0) {
			const struct slot *slot = slots_at(&call.slots, head - 1);

			ck_assert_int_eq(atomic_load_explicit(&slot->state, memory_order_acquire), SLOT_DONE);
			ck_assert_uint_eq(seen[head - 1]++, 0);
			n++;
			head = slot->flags & SLOT_CHAINED ? call_linked(N, slot->link) + 1 : 0;
		}
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(ran[0] + ran[1] + ran[2], N);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ticket");
	TCase *tests = tcase_create("ticket");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, runs_all_there_is);
	tcase_add_test(tests, a_quota_is_not_exceeded);
	tcase_add_test(tests, a_quota_does_not_count_while_the_loop_helps);
	tcase_add_test(tests, the_last_unit_may_be_short);
	tcase_add_test(tests, no_more_sit_than_there_are_jobs);
	tcase_add_test(tests, one_leaves_when_asked_to);
	tcase_add_test(tests, nothing_is_begun_once_the_call_stops);
	tcase_add_test(tests, a_task_sees_where_it_runs);
	tcase_add_test(tests, the_first_failure_stops_the_call);
	tcase_add_test(tests, collecting_goes_on_behind_each_failure);
	tcase_add_test(tests, of_failures_the_first_in_order_is_kept);
	tcase_add_test(tests, replies_of_any_size_lie_where_their_slot_says);
	tcase_add_test(tests, a_reply_beyond_4_gib_is_refused_with_words);
	tcase_add_test(tests, a_failure_takes_the_place_of_the_reply);
	tcase_add_test(tests, a_typed_task_replies_with_its_value);
	tcase_add_test(tests, a_hungry_loop_is_woken_once);
	tcase_add_test(tests, a_loop_that_is_awake_is_left_alone);
	tcase_add_test(tests, unordered_tasks_are_listed_as_they_are_over);
	tcase_add_test(tests, links_are_whole_where_32_bits_wrap);
	tcase_add_test(tests, threads_share_a_call);
	tcase_add_test(tests, threads_list_each_task_of_a_stream_once);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
