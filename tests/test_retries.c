/* link: -Wl,--wrap=clock_gettime */
#include "clock.h"
#include "scratch.h"
#include "stuck.h"

#define SHORT clock_short_s()

static par_error error = PAR_ERROR_INIT;

enum { N = 30 };
static int64_t in[N], out[N];
static int32_t statuses[N];

/* How often each was tried, and how often it is to fail. */
static _Atomic int tries[N];
static int failures[N];
static _Atomic int wrong_attempts, n_tries;

static int moody(par_env *env, const int64_t *from, int64_t *to)
{
	int tried = tries[*from]++;

	n_tries++;
	wrong_attempts += env->attempt != tried;
	if (tried < failures[*from])
		return par_fail_task(env, 10 + tried, "try %d of %lld failed", tried, (long long)*from);
	*to = 2 * *from;
	return 0;
}
PAR_TASK_ENV(moody, int64_t, int64_t)

/* The same with a reply that is written, and thrown away, each time. */
static int moody_bytes(par_env *env, const void *payload, uint64_t size)
{
	char *room = par_reply_room(env, 5000);
	int64_t number;
	int tried;

	(void)size;
	if (room == NULL)
		return 1;
	memcpy(&number, payload, sizeof(number));
	tried = tries[number]++;
	memset(room, 'a' + tried, 5000);
	number *= 2;
	memcpy(room, &number, sizeof(number));
	return tried < failures[number / 2] ? 10 + tried : 0;
}
PAR_TASK_OF_BYTES(moody_bytes)

static void begin(void)
{
	scratch_begin();
	stuck_begin();
	for (int i = 0; i < N; i++)
		in[i] = i, out[i] = -1, statuses[i] = 77;
}

static int32_t map(const par_settings *settings)
{
	int32_t code = par_map(NULL, &par_task_moody, in, out, N, settings, &error);

	ck_assert_int_eq(wrong_attempts, 0);
	return code;
}

/* Of a stream: all of in, as they come. */
static struct {
	int given, got, failed;
	uint64_t last;
	int in_order;
	par_outcome failure;
	char message[80];
} stream;

static int32_t give(void *user, par_item *item)
{
	(void)user;
	if (stream.given == N)
		return 0;
	item->payload = &in[stream.given++];
	item->n_bytes = sizeof(in[0]);
	return 1;
}

static int32_t get(void *user, const par_outcome *outcome)
{
	int64_t number;

	(void)user;
	stream.in_order += outcome->index == (uint64_t)stream.got;
	stream.got++;
	stream.last = outcome->index;
	if (outcome->status == PAR_OK) {
		memcpy(&number, outcome->bytes, sizeof(number));
		ck_assert_int_eq(number, 2 * (int64_t)outcome->index);
		ck_assert_int_eq(outcome->attempts, 0);
		return 0;
	}
	stream.failed++;
	stream.failure = *outcome;
	(void)snprintf(stream.message, sizeof(stream.message), "%s",
	               outcome->message != NULL ? outcome->message : "");
	return 0;
}

static int32_t run(const par_task *task, const par_settings *settings)
{
	return par_run(NULL, task, give, get, NULL, settings, &error);
}

/* --- arrays ------------------------------------------------------------------------------------ */

START_TEST(a_task_that_fails_is_tried_again)
{
	failures[3] = 1;
	failures[20] = 3;
	ck_assert_int_eq(map(PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(3), .statuses = statuses)), PAR_OK);
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(out[i], 2 * i);
		ck_assert_int_eq(tries[i], failures[i] + 1);
		ck_assert_int_eq(statuses[i], PAR_OK);
	}
}
END_TEST

START_TEST(only_so_often_and_the_last_try_is_told)
{
	failures[3] = 99;
	ck_assert_int_eq(map(PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(2), .statuses = statuses)), PAR_EFAILED);
	ck_assert_int_eq(error.task, 3);
	ck_assert_int_eq(error.attempts, 3);
	ck_assert_int_eq(error.task_code, 12);
	assert_contains(error.reason, "try 2 of 3 failed");
	ck_assert_int_eq(tries[3], 3);
	ck_assert_int_eq(statuses[3], PAR_EFAILED);
}
END_TEST

START_TEST(without_retries_there_is_one_try)
{
	failures[3] = 1;
	ck_assert_int_eq(map(PAR_SETTINGS(.n_jobs = {1, _i})), PAR_EFAILED);
	ck_assert_int_eq(tries[3], 1);
	ck_assert_int_eq(error.attempts, 1);
}
END_TEST

START_TEST(a_try_for_another_reason_does_not_count)
{
	failures[3] = 1;
	ck_assert_int_eq(map(PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(5),
	                                  .retry_on = PAR_SET(PAR_ON_TIMEOUT | PAR_ON_CRASH))),
	                 PAR_EFAILED);
	ck_assert_int_eq(tries[3], 1);
}
END_TEST

START_TEST(to_collect_has_the_others_and_statuses)
{
	failures[3] = 1;
	failures[5] = 99;
	ck_assert_int_eq(map(PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(1), .on_error = PAR_COLLECT,
	                                  .statuses = statuses)),
	                 PAR_EFAILED);
	ck_assert_int_eq(error.task, 5);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(statuses[i], i == 5 ? PAR_EFAILED : PAR_OK);
}
END_TEST

START_TEST(more_tries_than_there_are_are_refused)
{
	ck_assert_int_eq(map(PAR_SETTINGS(.retries = PAR_SET(-1))), PAR_EINVAL);
	assert_contains(error.what, "retries must be 0 to 1000");
	ck_assert_int_eq(map(PAR_SETTINGS(.retries = PAR_SET(1001))), PAR_EINVAL);
	ck_assert_int_eq(map(PAR_SETTINGS(.retry_on = PAR_SET(8))), PAR_EINVAL);
	ck_assert_int_eq(map(PAR_SETTINGS(.retry_delay = PAR_SET(-1))), PAR_EINVAL);
}
END_TEST

/* --- streams ----------------------------------------------------------------------------------- */

START_TEST(in_a_stream_it_comes_in_its_place)
{
	failures[0] = 2;
	failures[7] = 1;
	ck_assert_int_eq(run(&par_task_moody, PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(2))), PAR_OK);
	ck_assert_int_eq(stream.got, N);
	ck_assert_int_eq(stream.in_order, N);
	ck_assert_int_eq(tries[0], 3);
	ck_assert_int_eq(wrong_attempts, 0);
}
END_TEST

START_TEST(unordered_it_comes_when_it_is_over)
{
	failures[0] = 2;
	failures[N - 1] = 2;
	ck_assert_int_eq(run(&par_task_moody, PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(2),
	                                                   .order = PAR_UNORDERED)),
	                 PAR_OK);
	ck_assert_int_eq(stream.got, N);
	ck_assert_int_eq(tries[0], 3);
}
END_TEST

START_TEST(the_reply_of_the_last_try_counts)
{
	for (int i = 0; i < N; i++)
		failures[i] = i % 3;
	ck_assert_int_eq(run(&par_task_moody_bytes, PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(2))), PAR_OK);
	ck_assert_int_eq(stream.got, N);
}
END_TEST

START_TEST(an_outcome_tells_how_often_it_was_tried)
{
	failures[4] = 99;
	ck_assert_int_eq(run(&par_task_moody, PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(2),
	                                                   .on_error = PAR_COLLECT)),
	                 PAR_EFAILED);
	ck_assert_int_eq(stream.failed, 1);
	ck_assert_int_eq(stream.failure.attempts, 3);
	ck_assert_int_eq(stream.failure.code, 12);
	ck_assert_str_eq(stream.message, "try 2 of 4 failed");
}
END_TEST

/* One that says nothing has all that in eight bytes. */
START_TEST(so_does_one_that_says_nothing)
{
	failures[4] = 9999;
	ck_assert_int_eq(run(&par_task_moody_bytes, PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(1000),
	                                                         .on_error = PAR_COLLECT)),
	                 PAR_EFAILED);
	ck_assert_int_eq(stream.failure.attempts, 1001);
	ck_assert_int_eq(stream.failure.code, 1010);
	ck_assert_str_eq(stream.message, "");
}
END_TEST

/* --- with a delay ------------------------------------------------------------------------------ */

static struct {
	int n;
	int64_t started_ns[8], retry_ns[8];
	int n_started, n_retries;
} times;

static void keep_times(void *watcher, const par_event *event)
{
	(void)watcher;
	if (event->index != 3)
		return;
	if (event->kind == PAR_EVENT_STARTED)
		times.started_ns[times.n_started++] = event->at_ns;
	if (event->kind == PAR_EVENT_RETRY)
		times.retry_ns[times.n_retries++] = event->at_ns;
}

START_TEST(the_delay_doubles)
{
	failures[3] = 3;
	ck_assert_int_eq(map(PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(3), .retry_delay = PAR_SET(0.02),
	                                  .on_event = keep_times)),
	                 PAR_OK);
	ck_assert_int_eq(times.n_started, 4);
	ck_assert_int_eq(times.n_retries, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_ge(times.started_ns[i + 1] - times.retry_ns[i], 20000000LL << i);
}
END_TEST

START_TEST(a_stream_goes_on_meanwhile)
{
	failures[3] = 1;
	ck_assert_int_eq(run(&par_task_moody, PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(1),
	                                                   .retry_delay = PAR_SET(0.1), .batch_size = PAR_SET(N),
	                                                   .order = PAR_UNORDERED)),
	                 PAR_OK);
	ck_assert_int_eq(stream.got, N);
	ck_assert_uint_eq(stream.last, 3);
}
END_TEST

/* Its next try lies in the far future; every task has its first before the time begins to run out. */
START_TEST(a_call_out_of_time_does_not_wait_for_the_next_try)
{
	failures[3] = 1;
	clock_stands_until(&n_tries, N);
	ck_assert_int_eq(map(PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(1), .retry_delay = PAR_SET(1e6),
	                                  .call_timeout = PAR_SET(0.1), .statuses = statuses)),
	                 PAR_ETIMEOUT);
	ck_assert_int_eq(statuses[3], PAR_EABORTED);
	ck_assert_int_eq(statuses[N - 1], PAR_OK);
}
END_TEST

/* --- after a time-out -------------------------------------------------------------------------- */

static _Atomic int late_tries;
static _Atomic int stays_late; /* so many tries are over their time */

static int late(const int64_t *from, int64_t *to)
{
	if (*from == 3 && late_tries++ < stays_late)
		stuck_stay();
	*to = 2 * *from;
	return 0;
}
PAR_TASK(late, int64_t, int64_t)

/* Lets a task go once it was told to be over its time. */
static struct {
	int n[6];
	int32_t last_kind;
} events;

static void let_go_late(void *watcher, const par_event *event)
{
	(void)watcher;
	if (event->index != 3)
		return;
	events.n[event->kind]++;
	events.last_kind = event->kind;
	if (event->kind == PAR_EVENT_TIMEOUT)
		stuck_release(1);
}

START_TEST(a_task_over_its_time_is_tried_again_when_it_comes_back)
{
	stays_late = 2;
	ck_assert_int_eq(par_map(NULL, &par_task_late, in, out, N,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(2), .task_timeout = PAR_SET(SHORT),
	                                      .statuses = statuses, .on_event = let_go_late),
	                         &error),
	                 PAR_OK);
	ck_assert_int_eq(late_tries, 3);
	ck_assert_int_eq(out[3], 6);
	ck_assert_int_eq(statuses[3], PAR_OK);
	ck_assert_int_eq(events.n[PAR_EVENT_TIMEOUT], 2);
	ck_assert_int_eq(events.n[PAR_EVENT_RETRY], 2);
	ck_assert_int_eq(events.n[PAR_EVENT_STARTED], 3);
	ck_assert_int_eq(events.n[PAR_EVENT_FAILED], 0);
	ck_assert_int_eq(events.last_kind, PAR_EVENT_DONE);
}
END_TEST

START_TEST(in_a_stream_too)
{
	stays_late = 2;
	ck_assert_int_eq(run(&par_task_late, PAR_SETTINGS(.n_jobs = {1, 2}, .retries = PAR_SET(2), .order = _i,
	                                                  .task_timeout = PAR_SET(SHORT), .on_event = let_go_late)),
	                 PAR_OK);
	ck_assert_int_eq(stream.got, N);
	ck_assert_int_eq(late_tries, 3);
}
END_TEST

START_TEST(the_last_try_over_its_time_fails)
{
	stays_late = 2;
	ck_assert_int_eq(par_map(NULL, &par_task_late, in, out, N,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(1), .task_timeout = PAR_SET(SHORT),
	                                      .on_error = PAR_COLLECT, .statuses = statuses, .on_event = let_go_late),
	                         &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(error.attempts, 2);
	ck_assert_int_eq(error.task, 3);
	ck_assert_int_eq(statuses[3], PAR_ETIMEOUT);
	ck_assert_int_eq(events.n[PAR_EVENT_FAILED], 1);
	ck_assert_int_eq(events.last_kind, PAR_EVENT_FAILED);
}
END_TEST

START_TEST(a_time_out_is_not_tried_again_if_it_is_not_to_be)
{
	stays_late = 9;
	ck_assert_int_eq(par_map(NULL, &par_task_late, in, out, N,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(5),
	                                      .retry_on = PAR_SET(PAR_ON_ERROR), .task_timeout = PAR_SET(SHORT),
	                                      .on_event = let_go_late),
	                         &error),
	                 PAR_ETIMEOUT);
	ck_assert_int_eq(late_tries, 1);
	ck_assert_int_eq(events.n[PAR_EVENT_RETRY], 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("retries");
	TCase *tests = tcase_create("retries");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_loop_test(tests, a_task_that_fails_is_tried_again, 1, 4);
	tcase_add_loop_test(tests, only_so_often_and_the_last_try_is_told, 1, 4);
	tcase_add_loop_test(tests, without_retries_there_is_one_try, 1, 3);
	tcase_add_loop_test(tests, a_try_for_another_reason_does_not_count, 1, 3);
	tcase_add_loop_test(tests, to_collect_has_the_others_and_statuses, 1, 4);
	tcase_add_test(tests, more_tries_than_there_are_are_refused);
	tcase_add_loop_test(tests, in_a_stream_it_comes_in_its_place, 1, 4);
	tcase_add_loop_test(tests, unordered_it_comes_when_it_is_over, 1, 4);
	tcase_add_loop_test(tests, the_reply_of_the_last_try_counts, 1, 4);
	tcase_add_loop_test(tests, an_outcome_tells_how_often_it_was_tried, 1, 3);
	tcase_add_loop_test(tests, so_does_one_that_says_nothing, 1, 3);
	tcase_add_loop_test(tests, the_delay_doubles, 1, 4);
	tcase_add_loop_test(tests, a_stream_goes_on_meanwhile, 1, 4);
	tcase_add_loop_test(tests, a_call_out_of_time_does_not_wait_for_the_next_try, 1, 3);
	tcase_add_loop_test(tests, a_task_over_its_time_is_tried_again_when_it_comes_back, 1, 3);
	tcase_add_loop_test(tests, in_a_stream_too, PAR_ORDERED, PAR_UNORDERED + 1);
	tcase_add_loop_test(tests, the_last_try_over_its_time_fails, 1, 3);
	tcase_add_loop_test(tests, a_time_out_is_not_tried_again_if_it_is_not_to_be, 1, 3);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
