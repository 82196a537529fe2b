/* link: -Wl,--wrap=clock_gettime */
#include "clock.h"
#include "scratch.h"
#include "stuck.h"

#include <uv.h>

static par_error error = PAR_ERROR_INIT;
static pthread_t caller;

enum { N = 50 };
static int64_t in[N], out[N];

/* What was told. */
static struct {
	int n_progress, n_in_between;
	par_progress first, last;
	int n_events;
	int n[6]; /* of a kind */
	int state[N]; /* of each task: the last kind */
	int delivered[N];
	int64_t last_ns[N];
	par_event failure;
	char message[64];
	par_parallel *cancels; /* at once */
	int releases_at; /* done, from which a stuck task is let go */
} told;

static void begin(void)
{
	scratch_begin();
	stuck_begin();
	caller = pthread_self();
	memset(&told, 0, sizeof(told));
	for (int i = 0; i < N; i++)
		in[i] = i;
}

static void on_progress(void *watcher, const par_progress *progress)
{
	ck_assert_ptr_eq(watcher, &told);
	ck_assert(pthread_equal(pthread_self(), caller));
	ck_assert_uint_eq(progress->size, sizeof(*progress));
	ck_assert_uint_le(progress->failed, progress->done);
	ck_assert(progress->total == UINT64_MAX || progress->done <= progress->total);
	ck_assert_uint_ge(progress->done, told.last.done);
	ck_assert_double_ge(progress->elapsed_s, told.last.elapsed_s);
	if (told.n_progress++ == 0)
		told.first = *progress;
	told.n_in_between += progress->done > 0 && progress->done < progress->total;
	told.last = *progress;
	if (told.releases_at > 0 && progress->done >= (uint64_t)told.releases_at) {
		told.releases_at = 0;
		stuck_release(1);
	}
	if (told.cancels != NULL)
		par_cancel(told.cancels);
}

static void on_event(void *watcher, const par_event *event)
{
	int *state = &told.state[event->index];

	ck_assert_ptr_eq(watcher, &told);
	ck_assert(pthread_equal(pthread_self(), caller));
	ck_assert_uint_eq(event->size, sizeof(*event));
	ck_assert_uint_lt(event->index, N);
	ck_assert_int_ge(event->at_ns, told.last_ns[event->index]);
	ck_assert_int_ge(event->worker, 0);
	told.last_ns[event->index] = event->at_ns;
	told.n_events++;
	told.n[event->kind]++;
	if (event->kind == PAR_EVENT_STARTED)
		ck_assert(*state == 0 || *state == PAR_EVENT_RETRY);
	else
		ck_assert(*state == PAR_EVENT_STARTED ||
		          (*state == PAR_EVENT_TIMEOUT && event->kind != PAR_EVENT_DONE));
	ck_assert(!told.delivered[event->index]);
	*state = event->kind;
	if (event->kind == PAR_EVENT_FAILED) {
		told.failure = *event;
		(void)snprintf(told.message, sizeof(told.message), "%s", event->message ? event->message : "-");
	}
	if (told.cancels != NULL)
		par_cancel(told.cancels);
}

#define WATCHED .on_progress = on_progress, .on_event = on_event, .watcher = &told

static int32_t give(void *user, par_item *item)
{
	int *given = user;

	if (*given == N)
		return 0;
	item->payload = &in[(*given)++];
	item->n_bytes = sizeof(in[0]);
	return 1;
}

static int32_t get(void *user, const par_outcome *outcome)
{
	(void)user;
	/* Who watches knows it already. */
	ck_assert_int_eq(told.state[outcome->index], outcome->status == PAR_OK ? PAR_EVENT_DONE : PAR_EVENT_FAILED);
	told.delivered[outcome->index] = 1;
	return 0;
}

static int picky(par_env *env, const int64_t *from, int64_t *to)
{
	*to = *from;
	return *from == 5 ? par_fail_task(env, 6, "five will not do") : 0;
}
PAR_TASK_ENV(picky, int64_t, int64_t)

/* --- progress ---------------------------------------------------------------------------------- */

START_TEST(progress_is_told_at_the_beginning_and_at_the_end)
{
	ck_assert_int_eq(par_map(NULL, &par_task_stuck_double, in, out, N,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .on_progress = on_progress, .watcher = &told), &error),
	                 PAR_OK);
	ck_assert_int_ge(told.n_progress, 2);
	ck_assert_uint_eq(told.first.done, 0);
	ck_assert_uint_eq(told.first.total, N);
	ck_assert_double_eq(told.first.remaining_s, -1);
	ck_assert_uint_eq(told.last.done, N);
	ck_assert_uint_eq(told.last.failed, 0);
	ck_assert_uint_eq(told.last.running, 0);
	ck_assert_double_eq(told.last.remaining_s, 0);
}
END_TEST

START_TEST(of_a_stream_the_total_is_what_the_caller_knows)
{
	int given = 0;

	ck_assert_int_eq(par_run(NULL, &par_task_stuck_double, give, NULL, &given,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .on_progress = on_progress, .watcher = &told,
	                                      .n_tasks = PAR_SET(N)),
	                         &error),
	                 PAR_OK);
	ck_assert_uint_eq(told.first.total, N);
	ck_assert_uint_eq(told.last.done, N);
}
END_TEST

START_TEST(or_what_the_source_has_given_at_its_end)
{
	int given = 0;

	ck_assert_int_eq(par_run(NULL, &par_task_stuck_double, give, NULL, &given,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .on_progress = on_progress, .watcher = &told), &error),
	                 PAR_OK);
	ck_assert_uint_eq(told.first.total, UINT64_MAX);
	ck_assert_uint_eq(told.last.total, N);
	ck_assert_uint_eq(told.last.done, N);
}
END_TEST

/* It is that which lets the last task go. */
START_TEST(progress_is_told_in_between)
{
	in[N - 1] = -1;
	told.releases_at = 1;
	ck_assert_int_eq(par_map(NULL, &par_task_stuck_double, in, out, N,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1),
	                                      .on_progress = on_progress, .watcher = &told),
	                         &error),
	                 PAR_OK);
	ck_assert_int_ge(told.n_in_between, 1);
}
END_TEST

static int nap(const int64_t *from, int64_t *to)
{
	const struct timespec time = {.tv_nsec = 60000000};

	*to = *from;
	(void)nanosleep(&time, NULL);
	return 0;
}
PAR_TASK(nap, int64_t, int64_t)

/* With one worker on the caller's thread too; ten times a second at most. */
START_TEST(but_not_too_often)
{
	int given = N - 8;

	ck_assert_int_eq(par_run(NULL, &par_task_nap, give, NULL, &given,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .on_progress = on_progress, .watcher = &told), &error),
	                 PAR_OK);
	ck_assert_int_ge(told.n_in_between, 1);
	ck_assert_int_le(told.n_progress, 2 + (int)(told.last.elapsed_s / 0.1));
}
END_TEST

START_TEST(failed_tasks_are_counted)
{
	ck_assert_int_eq(par_map(NULL, &par_task_picky, in, out, N,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .on_error = PAR_IGNORE, .on_progress = on_progress,
	                                      .watcher = &told),
	                         &error),
	                 PAR_OK);
	ck_assert_uint_eq(told.last.done, N);
	ck_assert_uint_eq(told.last.failed, 1);
}
END_TEST

/* --- events ------------------------------------------------------------------------------------ */

START_TEST(each_task_begins_and_ends)
{
	ck_assert_int_eq(par_map(NULL, &par_task_stuck_double, in, out, N, PAR_SETTINGS(.n_jobs = {1, _i}, WATCHED), &error),
	                 PAR_OK);
	ck_assert_int_eq(told.n_events, 2 * N);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(told.state[i], PAR_EVENT_DONE);
}
END_TEST

START_TEST(who_watches_knows_before_the_sink)
{
	int given = 0;

	ck_assert_int_eq(par_run(NULL, &par_task_picky, give, get, &given,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .on_error = PAR_COLLECT, .order = PAR_UNORDERED, WATCHED),
	                         &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(told.n_events, 2 * N);
	ck_assert_int_eq(told.n[PAR_EVENT_FAILED], 1);
}
END_TEST

START_TEST(and_before_who_asks)
{
	const par_outcome *outcome;
	par_iter *iter;
	int given = 0;

	ck_assert_int_eq(par_iter_open(&iter, NULL, &par_task_stuck_double, give, &given,
	                               PAR_SETTINGS(.n_jobs = {1, _i}, WATCHED), &error),
	                 PAR_OK);
	while (par_iter_next(iter, &outcome, &error) == 1)
		(void)get(NULL, outcome);
	par_iter_close(iter, NULL);
	ck_assert_int_eq(told.n_events, 2 * N);
	ck_assert_uint_eq(told.last.done, N);
}
END_TEST

START_TEST(a_failure_has_its_story)
{
	ck_assert_int_eq(par_map(NULL, &par_task_picky, in, out, N,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .on_error = PAR_COLLECT, WATCHED), &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(told.n[PAR_EVENT_FAILED], 1);
	ck_assert_uint_eq(told.failure.index, 5);
	ck_assert_int_eq(told.failure.status, PAR_EFAILED);
	ck_assert_int_eq(told.failure.code, 6);
	ck_assert_int_eq(told.failure.attempt, 0);
	ck_assert_str_eq(told.message, "five will not do");
}
END_TEST

/* A task that runs when the call is out of time is told of, and left. */
START_TEST(a_call_out_of_time_tells_what_still_runs)
{
	int given = N - 1;

	in[N - 1] = -1;
	clock_stands_until(&stuck.n_inside, 1);
	ck_assert_int_eq(par_run(NULL, &par_task_stuck_double, give, NULL, &given,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .call_timeout = PAR_SET(0.1), WATCHED), &error),
	                 PAR_ETIMEOUT);
	ck_assert_int_eq(told.n[PAR_EVENT_TIMEOUT], 1);
	ck_assert_int_eq(told.state[0], PAR_EVENT_TIMEOUT);
	stuck_release(1);
}
END_TEST

START_TEST(the_pool_s_watchers_see_all_its_calls)
{
	par_parallel *pool;

	ck_assert_int_eq(par_open(&pool, PAR_SETTINGS(.n_jobs = {1, _i}, WATCHED), &error), PAR_OK);
	ck_assert_int_eq(par_map(pool, &par_task_stuck_double, in, out, 10, NULL, &error), PAR_OK);
	ck_assert_int_eq(told.n_events, 20);
	memset(told.state, 0, sizeof(told.state));
	told.last = (par_progress){0};
	ck_assert_int_eq(par_map(pool, &par_task_stuck_double, in, out, 10, NULL, &error), PAR_OK);
	ck_assert_int_eq(told.n_events, 40);
	par_close(pool);
}
END_TEST

/* --- cancelling -------------------------------------------------------------------------------- */

START_TEST(an_event_may_cancel)
{
	ck_assert_int_eq(par_open(&told.cancels, PAR_SETTINGS(.n_jobs = {1, _i}), &error), PAR_OK);
	ck_assert_int_eq(par_map(told.cancels, &par_task_stuck_double, in, out, N,
	                         PAR_SETTINGS(.on_event = on_event, .watcher = &told), &error),
	                 PAR_ECANCELED);
	ck_assert_int_lt(told.n[PAR_EVENT_STARTED], N);
	par_close(told.cancels);
}
END_TEST

START_TEST(progress_may_cancel)
{
	ck_assert_int_eq(par_open(&told.cancels, PAR_SETTINGS(.n_jobs = {1, _i}), &error), PAR_OK);
	ck_assert_int_eq(par_map(told.cancels, &par_task_stuck_double, in, out, N,
	                         PAR_SETTINGS(.on_progress = on_progress, .watcher = &told), &error),
	                 PAR_ECANCELED);
	ck_assert_uint_eq(told.last.done, 0);
	par_close(told.cancels);
}
END_TEST

/* --- on a loop ---------------------------------------------------------------------------------- */

static int n_done;

static void on_done(void *pool, int32_t status, const par_error *why)
{
	(void)why;
	ck_assert_int_eq(status, PAR_OK);
	n_done++;
	par_close_on(*(par_parallel **)pool, NULL, NULL);
}

START_TEST(on_a_loop_it_is_the_same)
{
	par_parallel *pool;
	uv_loop_t loop;

	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_int_eq(par_open_on(&pool, &loop, PAR_SETTINGS(.n_jobs = {1, _i}), NULL, NULL, &error), PAR_OK);
	ck_assert_int_eq(par_start_map(pool, &par_task_stuck_double, in, out, N, PAR_SETTINGS(WATCHED), on_done, &pool,
	                               &error),
	                 PAR_OK);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	ck_assert_int_eq(n_done, 1);
	ck_assert_int_eq(told.n_events, 2 * N);
	ck_assert_uint_eq(told.first.done, 0);
	ck_assert_uint_eq(told.last.done, N);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("watch");
	TCase *tests = tcase_create("watch");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_loop_test(tests, progress_is_told_at_the_beginning_and_at_the_end, 1, 4);
	tcase_add_loop_test(tests, of_a_stream_the_total_is_what_the_caller_knows, 1, 4);
	tcase_add_loop_test(tests, or_what_the_source_has_given_at_its_end, 1, 4);
	tcase_add_test(tests, progress_is_told_in_between);
	tcase_add_loop_test(tests, but_not_too_often, 1, 3);
	tcase_add_loop_test(tests, failed_tasks_are_counted, 1, 4);
	tcase_add_loop_test(tests, each_task_begins_and_ends, 1, 4);
	tcase_add_loop_test(tests, who_watches_knows_before_the_sink, 1, 4);
	tcase_add_loop_test(tests, and_before_who_asks, 1, 4);
	tcase_add_loop_test(tests, a_failure_has_its_story, 1, 4);
	tcase_add_loop_test(tests, a_call_out_of_time_tells_what_still_runs, 1, 3);
	tcase_add_loop_test(tests, the_pool_s_watchers_see_all_its_calls, 1, 4);
	tcase_add_loop_test(tests, an_event_may_cancel, 1, 3);
	tcase_add_loop_test(tests, progress_may_cancel, 1, 3);
	tcase_add_loop_test(tests, on_a_loop_it_is_the_same, 1, 3);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
