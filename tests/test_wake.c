/* test_wake.c - a source that has no task at the moment, and is asked again when woken. */
#include <parloop/parloop.h>

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

enum { N = 1000 };

/* What a source has to give, which somebody else decides. */
struct feed {
	par_parallel *parallel;
	atomic_int there; /* tasks that the source may give    */
	int given, ends;  /* it has no more behind `ends`      */
	int delivered;
	atomic_int seen;  /* delivered, for the feeding thread */
};

static int answer(const int32_t *in, int32_t *out)
{
	*out = *in + 1;
	return 0;
}

PAR_TASK(answer, int32_t, int32_t)

static int32_t source(void *user, par_item *item)
{
	struct feed *feed = user;

	if (feed->given == feed->ends)
		return 0;
	if (feed->given >= atomic_load(&feed->there))
		return PAR_NONE_YET;
	item->payload = &feed->given;
	item->n_bytes = sizeof(feed->given);
	feed->given++;
	return 1;
}

static int32_t sink(void *user, const par_outcome *outcome)
{
	struct feed *feed = user;

	ck_assert_int_eq(outcome->status, PAR_OK);
	ck_assert_int_eq(*(const int32_t *)outcome->bytes, feed->delivered + 2);
	atomic_store(&feed->seen, ++feed->delivered);
	return 0;
}

static void *feed_one_by_one(void *arg)
{
	struct feed *feed = arg;

	/* Each task only when the one before was delivered: nothing else will wake the call. */
	for (int i = 1; i <= N; i++) {
		atomic_store(&feed->there, i);
		par_wake(feed->parallel);
		while (atomic_load(&feed->seen) < i)
			sched_yield();
	}
	return NULL;
}

static par_parallel *open_pool(const char *backend)
{
	par_error error = PAR_ERROR_INIT;
	par_parallel *parallel;
	int32_t code = par_open(&parallel, PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(2)),
	                        &error);

	ck_assert_msg(code == PAR_OK, "%s: %s", error.what, error.reason);
	return parallel;
}

static void delivers_one_by_one(const char *backend)
{
	struct feed feed = {.ends = N, .parallel = open_pool(backend)};
	par_error error = PAR_ERROR_INIT;
	pthread_t feeder;
	int32_t code;

	ck_assert_int_eq(pthread_create(&feeder, NULL, feed_one_by_one, &feed), 0);
	code = par_run(feed.parallel, &par_task_answer, source, sink, &feed, NULL, &error);
	ck_assert_msg(code == PAR_OK, "%s", error.what);
	ck_assert_int_eq(pthread_join(feeder, NULL), 0);
	ck_assert_int_eq(feed.delivered, N);
	par_close(feed.parallel);
}

START_TEST(threads_get_tasks_as_they_come)
{
	delivers_one_by_one("threading");
}
END_TEST

START_TEST(inline_too)
{
	delivers_one_by_one("sequential");
}
END_TEST

static void *cancel(void *arg)
{
	struct feed *feed = arg;

	while (atomic_load(&feed->seen) < 1)
		sched_yield();
	par_cancel(feed->parallel);
	return NULL;
}

START_TEST(a_call_that_waits_can_be_cancelled)
{
	struct feed feed = {.ends = 2, .there = 1, .parallel = open_pool("threading")};
	par_error error = PAR_ERROR_INIT;
	pthread_t canceller;
	int32_t code;

	ck_assert_int_eq(pthread_create(&canceller, NULL, cancel, &feed), 0);
	code = par_run(feed.parallel, &par_task_answer, source, sink, &feed, NULL, &error);
	ck_assert_int_eq(code, PAR_ECANCELED);
	ck_assert_int_eq(pthread_join(canceller, NULL), 0);
	par_close(feed.parallel);
}
END_TEST

static void *feed_late(void *arg)
{
	struct feed *feed = arg;

	while (atomic_load(&feed->seen) < 1)
		sched_yield();
	/* Twice as long as the time-out: there is nothing that could come. */
	(void)usleep(2000 * 1000);
	atomic_store(&feed->there, 2);
	par_wake(feed->parallel);
	return NULL;
}

START_TEST(waiting_for_a_task_is_not_waiting_for_a_result)
{
	struct feed feed = {.ends = 2, .there = 1, .parallel = open_pool("threading")};
	par_error error = PAR_ERROR_INIT;
	pthread_t feeder;
	int32_t code;

	ck_assert_int_eq(pthread_create(&feeder, NULL, feed_late, &feed), 0);
	code = par_run(feed.parallel, &par_task_answer, source, sink, &feed,
	               PAR_SETTINGS(.timeout = PAR_SET(1.0)), &error);
	ck_assert_msg(code == PAR_OK, "%s", error.what);
	ck_assert_int_eq(pthread_join(feeder, NULL), 0);
	ck_assert_int_eq(feed.delivered, 2);
	par_close(feed.parallel);
}
END_TEST

/* --- on a loop of the caller's ----------------------------------------------------------- */

static void on_done(void *user, int32_t status, const par_error *error)
{
	struct feed *feed = user;

	ck_assert_msg(status == PAR_OK, "%s", error->what);
	par_close_on(feed->parallel, NULL, NULL);
}

static void on_timer(uv_timer_t *timer)
{
	struct feed *feed = timer->data;

	atomic_fetch_add(&feed->there, 1);
	par_wake(feed->parallel);
	if (feed->there == feed->ends)
		uv_close((uv_handle_t *)timer, NULL);
}

START_TEST(a_loop_of_the_callers_goes_on_meanwhile)
{
	struct feed feed = {.ends = 5};
	par_error error = PAR_ERROR_INIT;
	uv_timer_t timer = {.data = &feed};
	uv_loop_t loop;

	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_int_eq(uv_timer_init(&loop, &timer), 0);
	ck_assert_int_eq(uv_timer_start(&timer, on_timer, 1, 1), 0);
	ck_assert_int_eq(par_open_on(&feed.parallel, &loop,
	                             PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2)),
	                             NULL, NULL, &error),
	                 PAR_OK);
	ck_assert_int_eq(par_start_run(feed.parallel, &par_task_answer, source, sink, NULL, on_done,
	                               &feed, &error),
	                 PAR_OK);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(feed.delivered, 5);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		threads_get_tasks_as_they_come,
		inline_too,
		a_call_that_waits_can_be_cancelled,
		waiting_for_a_task_is_not_waiting_for_a_result,
		a_loop_of_the_callers_goes_on_meanwhile,
	};
	Suite *suite = suite_create("wake");
	TCase *tcase = tcase_create("wake");
	SRunner *runner;
	int failed;

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
