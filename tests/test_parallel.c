#include "scratch.h"

#include <parloop/parloop.h>

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <uv.h>

#ifdef __SANITIZE_THREAD__
#define CAN_THREAD_AFTER_FORK 0
#else
#define CAN_THREAD_AFTER_FORK 1
#endif

static par_error error = PAR_ERROR_INIT;
static par_parallel *pool;

static int twice(const int64_t *in, int64_t *out)
{
	*out = 2 * *in;
	return 0;
}
PAR_TASK(twice, int64_t, int64_t)

static int echo(par_env *env, const void *payload, uint64_t size)
{
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(echo)

/* Fails at 7 and above. */
static int low(par_env *env, const int64_t *in, int64_t *out)
{
	*out = *in;
	return *in < 7 ? 0 : par_fail_task(env, 4, "%lld is too high", (long long)*in);
}
PAR_TASK_ENV(low, int64_t, int64_t)

static _Atomic int n_waiting;

/* Waits until the call ends early. */
static int wait_for_the_end(par_env *env, const int64_t *in, int64_t *out)
{
	const struct timespec nap = {.tv_nsec = 200 * 1000};

	n_waiting++;
	while (!par_cancelled(env))
		(void)nanosleep(&nap, NULL);
	*out = *in;
	return 0;
}
PAR_TASK_ENV(wait_for_the_end, int64_t, int64_t)

static void open_pool(int n_jobs)
{
	ck_assert_int_eq(par_open(&pool, PAR_SETTINGS(.n_jobs = {1, n_jobs}), &error), PAR_OK);
}

static void begin(void)
{
	scratch_begin();
	error = (par_error)PAR_ERROR_INIT;
}

static int64_t in[100], out[100];

static int32_t map_ten(par_parallel *on, const par_settings *settings)
{
	for (int i = 0; i < 10; i++)
		in[i] = i, out[i] = -1;
	return par_map(on, &par_task_twice, in, out, 10, settings, &error);
}

/* --- streams ---------------------------------------------------------------------------------- */

struct stream {
	int64_t n, given, got, stop_at;
	int32_t (*in_source)(void), (*in_sink)(void);
	int32_t code;
	int64_t seen[100];
};

static int32_t source(void *user, par_item *item)
{
	struct stream *stream = user;

	if (stream->in_source != NULL)
		stream->code = stream->in_source();
	if (stream->given == stream->n)
		return 0;
	stream->seen[stream->given] = stream->given;
	item->payload = &stream->seen[stream->given++];
	item->n_bytes = sizeof(int64_t);
	return 1;
}

static int32_t sink(void *user, const par_outcome *outcome)
{
	struct stream *stream = user;

	(void)outcome;
	if (stream->in_sink != NULL)
		stream->code = stream->in_sink();
	return ++stream->got == stream->stop_at;
}

static int32_t run(struct stream *stream, const par_settings *settings)
{
	return par_run(pool, &par_task_twice, source, sink, stream, settings, &error);
}

/* --- arrays ----------------------------------------------------------------------------------- */

START_TEST(maps_an_array)
{
	open_pool(2);
	ck_assert_int_eq(map_ten(pool, NULL), PAR_OK);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(out[i], 2 * i);
	ck_assert_int_eq(par_map(pool, &par_task_twice, in, in, 10, NULL, &error), PAR_OK);
	ck_assert_int_eq(in[9], 18);
	par_close(pool);
}
END_TEST

START_TEST(no_values_are_mapped_to_none)
{
	open_pool(2);
	ck_assert_int_eq(par_map(pool, &par_task_twice, NULL, NULL, 0, NULL, &error), PAR_OK);
	par_close(pool);
	ck_assert_int_eq(par_map(NULL, &par_task_twice, NULL, NULL, 0, NULL, &error), PAR_OK);
}
END_TEST

START_TEST(no_array_is_no_place_for_values)
{
	open_pool(2);
	ck_assert_int_eq(par_map(pool, &par_task_twice, NULL, out, 3, NULL, &error), PAR_EINVAL);
	ck_assert_int_eq(par_map(pool, &par_task_twice, in, NULL, 3, NULL, &error), PAR_EINVAL);
	assert_contains(error.what, "no array");
	par_close(pool);
}
END_TEST

START_TEST(more_values_than_memory_can_hold_are_refused)
{
	static const uint64_t wrong[] = {UINT64_MAX, UINT64_MAX / 8, SIZE_MAX / 8, SIZE_MAX / 16 + 1};

	open_pool(2);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ck_assert_int_eq(par_map(pool, &par_task_twice, in, out, wrong[i], NULL, &error), PAR_EINVAL);
		assert_contains(error.what, "more values than memory can hold");
	}
	par_close(pool);
}
END_TEST

START_TEST(a_bytes_task_cannot_be_mapped)
{
	open_pool(2);
	ck_assert_int_eq(par_map(pool, &par_task_echo, in, out, 3, NULL, &error), PAR_EINVAL);
	ck_assert_str_eq(error.what, "par_map cannot run the task \"echo\"");
	assert_contains(error.remedy, "par_run");
	ck_assert_int_eq(par_map(pool, NULL, in, out, 3, NULL, &error), PAR_EINVAL);
	par_close(pool);
}
END_TEST

START_TEST(a_task_that_fails_is_named)
{
	open_pool(2);
	for (int i = 0; i < 10; i++)
		in[i] = i, out[i] = -1;
	ck_assert_int_eq(par_map(pool, &par_task_low, in, out, 10, PAR_SETTINGS(.on_error = PAR_COLLECT),
	                         &error), PAR_EFAILED);
	ck_assert_str_eq(error.what, "3 tasks failed, the first is task 7");
	ck_assert_str_eq(error.reason, "7 is too high");
	ck_assert_int_eq(error.task, 7);
	ck_assert_int_eq(out[6], 6);
	/* The pool goes on. */
	ck_assert_int_eq(map_ten(pool, NULL), PAR_OK);
	par_close(pool);
}
END_TEST

START_TEST(nobody_has_to_want_the_error)
{
	ck_assert_int_eq(par_map(NULL, &par_task_low, (int64_t[]){9}, out, 1, NULL, NULL), PAR_EFAILED);
	ck_assert_int_eq(par_open(&pool, PAR_SETTINGS(.backend = "nobody"), NULL), PAR_ENOTFOUND);
	ck_assert_int_eq(par_open(&pool, PAR_SETTINGS(.n_jobs = PAR_SET(0)), NULL), PAR_EINVAL);
}
END_TEST

/* --- settings ---------------------------------------------------------------------------------- */

START_TEST(settings_that_mean_nothing_are_refused)
{
	static const struct {
		par_settings settings;
		const char *word;
	} wrong[] = {
		{{.size = sizeof(par_settings), .n_jobs = PAR_SET(0)}, "n_jobs"},
		{{.size = sizeof(par_settings), .batch_size = PAR_SET(0)}, "batch_size"},
		{{.size = sizeof(par_settings), .batch_size = PAR_SET(-1)}, "batch_size"},
		{{.size = sizeof(par_settings), .timeout = PAR_SET(0)}, "timeout"},
		{{.size = sizeof(par_settings), .timeout = {1, __builtin_nan("")}}, "timeout"},
		{{.size = sizeof(par_settings), .order = 9}, "order"},
		{{.size = 0}, "size"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		error = (par_error)PAR_ERROR_INIT;
		ck_assert_int_eq(map_ten(NULL, &wrong[i].settings), PAR_EINVAL);
		assert_contains(error.what, wrong[i].word);
		ck_assert_str_ne(error.remedy, "");
		ck_assert_int_eq(par_open(&pool, &wrong[i].settings, &error), PAR_EINVAL);
		ck_assert_ptr_null(pool);
	}
}
END_TEST

START_TEST(a_pre_dispatch_that_is_no_arithmetic_is_refused)
{
	struct stream stream = {.n = 10};

	open_pool(2);
	ck_assert_int_lt(run(&stream, PAR_SETTINGS(.pre_dispatch = "many")), 0);
	assert_contains(error.what, "pre_dispatch");
	ck_assert_int_eq(stream.given, 0);
	ck_assert_int_eq(run(&stream, PAR_SETTINGS(.pre_dispatch = "3*n_jobs")), PAR_OK);
	ck_assert_int_eq(stream.got, 10);
	par_close(pool);
}
END_TEST

START_TEST(what_is_fixed_of_an_open_pool_cannot_be_set_anew)
{
	static const char *const options[] = {NULL};

	open_pool(2);
	ck_assert_int_eq(map_ten(pool, PAR_SETTINGS(.n_jobs = PAR_SET(3))), PAR_EINVAL);
	ck_assert_int_eq(map_ten(pool, PAR_SETTINGS(.backend = "sequential")), PAR_EINVAL);
	ck_assert_int_eq(map_ten(pool, PAR_SETTINGS(.options = options)), PAR_EINVAL);
	assert_contains(error.what, "are fixed");
	ck_assert_int_eq(map_ten(pool, PAR_SETTINGS(.batch_size = PAR_SET(2))), PAR_OK);
	ck_assert_int_eq(par_n_jobs(pool), 2);
	ck_assert_str_eq(par_backend_name(pool), "threading");
	assert_contains(par_backend_file(pool), "threading.so");
	par_close(pool);
}
END_TEST

START_TEST(n_jobs_can_be_asked_without_a_pool)
{
	ck_assert_int_eq(par_effective_n_jobs("threading", 3, &error), 3);
	ck_assert_int_ge(par_effective_n_jobs("threading", -1, &error), 1);
	ck_assert_int_eq(par_effective_n_jobs("sequential", 3, &error), 1);
	ck_assert_int_eq(par_effective_n_jobs(NULL, 4, &error), 4);
	ck_assert_int_eq(par_effective_n_jobs("threading", 0, &error), 0);
	ck_assert_int_eq(error.code, PAR_EINVAL);
	ck_assert_int_eq(par_effective_n_jobs("nobody", 1, &error), 0);
	ck_assert_int_eq(error.code, PAR_ENOTFOUND);
}
END_TEST

/* --- whose it is ---------------------------------------------------------------------------------- */

static void *map_elsewhere(void *arg)
{
	*(int32_t *)arg = map_ten(pool, NULL);
	return NULL;
}

START_TEST(another_thread_is_refused)
{
	pthread_t thread;
	int32_t code = 0;

	open_pool(2);
	ck_assert_int_eq(pthread_create(&thread, NULL, map_elsewhere, &code), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(code, PAR_EINVAL);
	assert_contains(error.what, "another thread");
	par_close(pool);
}
END_TEST

START_TEST(a_forked_child_is_refused_and_may_close_or_open_its_own)
{
	par_parallel *own;
	pid_t pid;
	int status;

	open_pool(2);
	ck_assert_int_eq(map_ten(pool, NULL), PAR_OK);
	pid = fork();
	if (pid == 0) {
		(void)alarm(20);
		if (map_ten(pool, NULL) != PAR_EINVAL)
			_exit(1);
		par_cancel(pool);
		par_close(pool);
		if (strstr(error.what, "parent process") == NULL)
			_exit(2);
		/* TSan cannot follow threads of a child whose parent had some. */
		if (CAN_THREAD_AFTER_FORK) {
			if (par_open(&own, PAR_SETTINGS(.n_jobs = PAR_SET(2)), &error) != PAR_OK)
				_exit(3);
			if (map_ten(own, NULL) != PAR_OK || out[9] != 18)
				_exit(4);
			par_close(own);
		}
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(map_ten(pool, NULL), PAR_OK);
	par_close(pool);
}
END_TEST

static int32_t call_again(void)
{
	int32_t code = map_ten(pool, NULL);

	par_close(pool); /* ignored: a call is under way */
	return code;
}

START_TEST(a_sink_may_not_call_its_own_pool)
{
	struct stream stream = {.n = 5, .in_sink = call_again};

	open_pool(2);
	ck_assert_int_eq(run(&stream, NULL), PAR_OK);
	ck_assert_int_eq(stream.got, 5);
	ck_assert_int_eq(stream.code, PAR_EBUSY);
	ck_assert_str_eq(error.what, "This Parallel instance is already running !");
	assert_contains(scratch_log, "par_close() of a par_parallel that is running");
	par_close(pool);
}
END_TEST

START_TEST(a_source_may_not_call_its_own_pool)
{
	struct stream stream = {.n = 5, .in_source = call_again};

	open_pool(1);
	ck_assert_int_eq(run(&stream, NULL), PAR_OK);
	ck_assert_int_eq(stream.got, 5);
	ck_assert_int_eq(stream.code, PAR_EBUSY);
	par_close(pool);
}
END_TEST

static int32_t call_another(void)
{
	return map_ten(NULL, PAR_SETTINGS(.n_jobs = PAR_SET(2)));
}

START_TEST(a_sink_may_call_another_pool)
{
	struct stream stream = {.n = 5, .in_sink = call_another};

	open_pool(2);
	ck_assert_int_eq(run(&stream, NULL), PAR_OK);
	ck_assert_int_eq(stream.code, PAR_OK);
	par_close(pool);
}
END_TEST

/* --- how a call ends --------------------------------------------------------------------------------- */

START_TEST(a_sink_that_says_so_ends_the_call)
{
	struct stream stream = {.n = 50, .stop_at = 3};

	open_pool(2);
	ck_assert_int_eq(run(&stream, NULL), PAR_ECANCELED);
	ck_assert_int_eq(stream.got, 3);
	assert_contains(error.what, "the sink");
	stream = (struct stream){.n = 50};
	ck_assert_int_eq(run(&stream, PAR_SETTINGS(.order = PAR_UNORDERED)), PAR_OK);
	ck_assert_int_eq(stream.got, 50);
	par_close(pool);
}
END_TEST

static void *cancel_when_it_waits(void *arg)
{
	const struct timespec nap = {.tv_nsec = 1000 * 1000};

	while (n_waiting == 0)
		(void)nanosleep(&nap, NULL);
	par_cancel(arg);
	return NULL;
}

START_TEST(another_thread_may_cancel)
{
	pthread_t thread;

	open_pool(2);
	ck_assert_int_eq(pthread_create(&thread, NULL, cancel_when_it_waits, pool), 0);
	ck_assert_int_eq(par_map(pool, &par_task_wait_for_the_end, in, out, 10, NULL, &error), PAR_ECANCELED);
	pthread_join(thread, NULL);
	ck_assert_str_eq(error.what, "the call was cancelled");
	/* Only the call that runs: the next one is not concerned. */
	par_cancel(pool);
	ck_assert_int_eq(map_ten(pool, NULL), PAR_OK);
	par_close(pool);
	par_cancel(NULL);
}
END_TEST

START_TEST(a_result_that_does_not_come_in_time_ends_the_call)
{
	open_pool(2);
	ck_assert_int_eq(par_map(pool, &par_task_wait_for_the_end, in, out, 2,
	                         PAR_SETTINGS(.timeout = PAR_SET(0.05)), &error), PAR_ETIMEOUT);
	ck_assert_str_eq(error.what, "no result came within 0.05 s");
	ck_assert_int_eq(map_ten(pool, PAR_SETTINGS(.timeout = PAR_SET(50))), PAR_OK);
	par_close(pool);
}
END_TEST

START_TEST(kept_outcomes_outlive_the_pool)
{
	par_outcome outcome = {.size = sizeof(outcome), .index = 3, .bytes = "12345678", .n_bytes = 8,
	                       .message = "why", .payload = in, .payload_bytes = 8};
	par_outcome *kept = par_keep(&outcome);

	ck_assert_ptr_nonnull(kept);
	ck_assert_ptr_ne(kept->bytes, outcome.bytes);
	ck_assert_int_eq(memcmp(kept->bytes, "12345678", 8), 0);
	ck_assert_str_eq(kept->message, "why");
	ck_assert_ptr_null(kept->payload);
	ck_assert_uint_eq(kept->index, 3);
	par_release(kept);
	par_release(NULL);
	outcome = (par_outcome){.size = sizeof(outcome), .status = PAR_EFAILED};
	kept = par_keep(&outcome);
	ck_assert_int_eq(kept->status, PAR_EFAILED);
	ck_assert_uint_eq(kept->n_bytes, 0);
	par_release(kept);
}
END_TEST

/* --- on the caller's loop ---------------------------------------------------------------------------------- */

static uv_loop_t uv;
static int n_ready, n_done, n_closed;
static int32_t done_status;

static void on_ready(void *user, int32_t status, const par_error *why)
{
	(void)user, (void)why;
	ck_assert_int_eq(status, PAR_OK);
	n_ready++;
}

static void on_done(void *user, int32_t status, const par_error *why)
{
	(void)user;
	ck_assert_ptr_nonnull(why);
	n_done++;
	done_status = status;
}

static void on_closed(void *user)
{
	ck_assert_ptr_eq(user, &uv);
	n_closed++;
}

static void open_on_loop(void)
{
	ck_assert_int_eq(uv_loop_init(&uv), 0);
	ck_assert_int_eq(par_open_on(&pool, &uv, PAR_SETTINGS(.n_jobs = PAR_SET(2)), on_ready, NULL, &error),
	                 PAR_OK);
}

static void close_loop(void)
{
	(void)uv_run(&uv, UV_RUN_DEFAULT);
	ck_assert_int_eq(n_closed, 1);
	ck_assert_int_eq(uv_loop_close(&uv), 0);
}

START_TEST(a_pool_on_a_loop_refuses_to_block_and_one_of_its_own_to_be_started)
{
	open_on_loop();
	ck_assert_int_eq(map_ten(pool, NULL), PAR_EINVAL);
	assert_contains(error.remedy, "par_start_map");
	ck_assert_int_eq(n_ready, 0);
	par_close_on(pool, on_closed, &uv);
	close_loop();
	open_pool(2);
	ck_assert_int_eq(par_start_map(pool, &par_task_twice, in, out, 10, NULL, on_done, NULL, &error),
	                 PAR_EINVAL);
	assert_contains(error.remedy, "par_open_on");
	ck_assert_int_eq(par_start_map(NULL, &par_task_twice, in, out, 10, NULL, on_done, NULL, &error),
	                 PAR_EINVAL);
	par_close(pool);
	ck_assert_int_eq(par_open_on(&pool, NULL, NULL, NULL, NULL, &error), PAR_EINVAL);
	ck_assert_ptr_null(pool);
}
END_TEST

START_TEST(a_started_call_ends_on_the_loop)
{
	open_on_loop();
	for (int i = 0; i < 10; i++)
		in[i] = i;
	ck_assert_int_eq(par_start_map(pool, &par_task_twice, in, out, 10, NULL, on_done, NULL, &error), PAR_OK);
	ck_assert_int_eq(par_start_map(pool, &par_task_twice, in, out, 10, NULL, on_done, NULL, &error), PAR_EBUSY);
	ck_assert_int_eq(n_done, 0);
	/* The loop runs only as long as something is under way. */
	(void)uv_run(&uv, UV_RUN_DEFAULT);
	ck_assert_int_eq(n_ready, 1);
	ck_assert_int_eq(n_done, 1);
	ck_assert_int_eq(done_status, PAR_OK);
	ck_assert_int_eq(out[9], 18);
	par_close_on(pool, on_closed, &uv);
	close_loop();
}
END_TEST

static void on_soon(uv_timer_t *timer)
{
	if (n_waiting == 0)
		return;
	par_close_on(pool, on_closed, &uv);
	par_close_on(pool, on_closed, &uv);
	ck_assert_int_eq(par_start_map(pool, &par_task_twice, in, out, 1, NULL, on_done, NULL, &error),
	                 PAR_EINVAL);
	uv_close((uv_handle_t *)timer, NULL);
}

START_TEST(to_close_cancels_the_call_under_way)
{
	uv_timer_t timer;

	open_on_loop();
	ck_assert_int_eq(par_start_map(pool, &par_task_wait_for_the_end, in, out, 10, NULL, on_done, NULL, &error),
	                 PAR_OK);
	ck_assert_int_eq(uv_timer_init(&uv, &timer), 0);
	ck_assert_int_eq(uv_timer_start(&timer, on_soon, 1, 1), 0);
	close_loop();
	ck_assert_int_eq(n_done, 1);
	ck_assert_int_eq(done_status, PAR_ECANCELED);
}
END_TEST

START_TEST(one_that_was_just_opened_can_be_closed)
{
	open_on_loop();
	par_close_on(pool, on_closed, &uv);
	close_loop();
	open_on_loop();
	n_closed = 0;
	par_close(pool);
	(void)uv_run(&uv, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&uv), 0);
}
END_TEST

START_TEST(nothing_is_no_pool)
{
	par_close(NULL);
	par_close_on(NULL, on_closed, &uv);
	par_cancel(NULL);
	par_wake(NULL);
	ck_assert_int_eq(n_closed, 0);
	ck_assert_str_eq(par_version(), PAR_VERSION_STRING);
}
END_TEST

/* Or it would start workers that do the same. */
START_TEST(a_worker_that_comes_to_main_opens_no_pool)
{
	par_parallel *opened;

	ck_assert_int_eq(setenv("PARLOOP_WORKER", "3:3:0:1", 1), 0);
	ck_assert_int_eq(par_open(&opened, NULL, &error), PAR_EINVAL);
	ck_assert_ptr_null(opened);
	assert_contains(error.what, "Attempting to do parallel computing without protecting");
	assert_contains(error.remedy, "par_worker_main");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("parallel");
	TCase *tests = tcase_create("parallel");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_test(tests, maps_an_array);
	tcase_add_test(tests, no_values_are_mapped_to_none);
	tcase_add_test(tests, no_array_is_no_place_for_values);
	tcase_add_test(tests, more_values_than_memory_can_hold_are_refused);
	tcase_add_test(tests, a_bytes_task_cannot_be_mapped);
	tcase_add_test(tests, a_task_that_fails_is_named);
	tcase_add_test(tests, nobody_has_to_want_the_error);
	tcase_add_test(tests, settings_that_mean_nothing_are_refused);
	tcase_add_test(tests, a_pre_dispatch_that_is_no_arithmetic_is_refused);
	tcase_add_test(tests, what_is_fixed_of_an_open_pool_cannot_be_set_anew);
	tcase_add_test(tests, n_jobs_can_be_asked_without_a_pool);
	tcase_add_test(tests, another_thread_is_refused);
	tcase_add_test(tests, a_forked_child_is_refused_and_may_close_or_open_its_own);
	tcase_add_test(tests, a_sink_may_not_call_its_own_pool);
	tcase_add_test(tests, a_source_may_not_call_its_own_pool);
	tcase_add_test(tests, a_sink_may_call_another_pool);
	tcase_add_test(tests, a_sink_that_says_so_ends_the_call);
	tcase_add_test(tests, another_thread_may_cancel);
	tcase_add_test(tests, a_result_that_does_not_come_in_time_ends_the_call);
	tcase_add_test(tests, kept_outcomes_outlive_the_pool);
	tcase_add_test(tests, a_pool_on_a_loop_refuses_to_block_and_one_of_its_own_to_be_started);
	tcase_add_test(tests, a_started_call_ends_on_the_loop);
	tcase_add_test(tests, to_close_cancels_the_call_under_way);
	tcase_add_test(tests, one_that_was_just_opened_can_be_closed);
	tcase_add_test(tests, nothing_is_no_pool);
	tcase_add_test(tests, a_worker_that_comes_to_main_opens_no_pool);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
