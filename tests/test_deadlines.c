/* link: -Wl,--wrap=clock_gettime */
#include "clock.h"
#include "leaks.h"
#include "own_backend.h"
#include "scratch.h"
#include "stuck.h"

#include <uv.h>

#define SHORT clock_short_s()
#define LONG 1000.0 /* what nobody waits for in vain */

static par_error error = PAR_ERROR_INIT;
static par_parallel *pool;
static struct leaks leaks;

/* Calls that have said that they wait for the caller's memory. */
static _Atomic int n_waiting;

static void on_log(void *user, int32_t level, const char *line)
{
	scratch_keep_log(user, level, line);
	n_waiting += strstr(line, "use the caller's memory") != NULL;
}

static void begin(void)
{
	scratch_begin();
	par_set_log(on_log, NULL);
	stuck_begin();
	error = (par_error)PAR_ERROR_INIT;
}

static void open_pool(int n_jobs, double close_timeout)
{
	ck_assert_int_eq(par_open(&pool, PAR_SETTINGS(.n_jobs = {1, n_jobs}, .close_timeout = {1, close_timeout}),
	                          &error),
	                 PAR_OK);
}

static int32_t run(struct numbers *numbers, const par_settings *settings)
{
	return par_run(pool, numbers->size > 0 ? &par_task_stuck_echo : &par_task_stuck_double, give_number,
	               get_number, numbers, settings, &error);
}

/* The pool does what it should. */
static void check_works(void)
{
	struct numbers numbers = NUMBERS(1, 2, 3, 4, 5, 6, 7, 8);

	ck_assert_int_eq(run(&numbers, NULL), PAR_OK);
	ck_assert_int_eq(numbers.got, 8);
}

static int count_in_log(const char *text)
{
	int n = 0;

	for (const char *at = scratch_log; (at = strstr(at, text)) != NULL; at++)
		n++;
	return n;
}

/* --- task_timeout of streams, whose memory is parloop's ---------------------------------------- */

START_TEST(a_task_over_its_time_ends_the_call_at_once)
{
	struct numbers numbers = NUMBERS(1, -1, 3);

	open_pool(_i, LONG);
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
	ck_assert_int_eq(error.code, PAR_ETIMEOUT);
	ck_assert_int_eq(error.task, 1);
	ck_assert_int_eq(error.attempts, 1);
	ck_assert_str_eq(error.type, "PAR_ETIMEOUT");
	assert_contains(error.reason, "it ran for more than");
	ck_assert_int_eq(stuck.n_inside, 1);
	check_works();
	ck_assert_int_eq(stuck.n_inside, 1);
	stuck_release(1);
	par_close(pool);
	ck_assert_int_eq(stuck.n_inside, 0);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(what_was_over_before_it_is_delivered)
{
	struct numbers numbers = NUMBERS(1, -1);

	open_pool(2, LONG);
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
	ck_assert_int_eq(numbers.status[0], PAR_OK);
	ck_assert_int_eq(numbers.status[1], PAR_ETIMEOUT);
	stuck_release(1);
	par_close(pool);
}
END_TEST

/* With n_jobs 1 what comes after it would wait for it. */
START_TEST(to_collect_goes_on_with_the_others)
{
	struct numbers numbers = NUMBERS(1, -1, 3, 4, 5, 6, 7, 8, 9, 10);

	open_pool(2, LONG);
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT), .on_error = PAR_COLLECT,
	                                            .order = _i)),
	                 PAR_EFAILED);
	ck_assert_int_eq(numbers.got, 10);
	ck_assert_int_eq(numbers.failed, 1);
	ck_assert_int_eq(numbers.status[1], PAR_ETIMEOUT);
	assert_contains(numbers.message, "task_timeout");
	ck_assert_str_eq(numbers.last_failed.type, "PAR_ETIMEOUT");
	ck_assert_int_eq(numbers.last_failed.attempts, 1);
	ck_assert_int_ge(numbers.last_failed.worker, 0);
	ck_assert_int_eq(error.task, 1);
	stuck_release(1);
	par_close(pool);
}
END_TEST

START_TEST(to_ignore_leaves_it_out)
{
	struct numbers numbers = NUMBERS(1, -1, 3, 4, 5, 6, 7, 8, 9, 10);

	open_pool(2, LONG);
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT), .on_error = PAR_IGNORE,
	                                            .order = _i)),
	                 PAR_OK);
	ck_assert_int_eq(numbers.got, 9);
	ck_assert_int_eq(numbers.status[1], PAR_PENDING);
	ck_assert_int_eq(stuck.n_inside, 1);
	stuck_release(1);
	par_close(pool);
}
END_TEST

/* With what it has claimed, and with what stands behind it in a piece. */
START_TEST(those_behind_it_are_run_by_others)
{
	struct numbers numbers = NUMBERS(1, 2, 3, 4, 5, 6, -7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20);

	open_pool(2, LONG);
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT), .on_error = PAR_IGNORE,
	                                            .pre_dispatch = "all", .batch_size = {1, _i})),
	                 PAR_OK);
	ck_assert_int_eq(numbers.got, 19);
	ck_assert_int_eq(stuck.n_inside, 1);
	stuck_release(1);
	par_close(pool);
}
END_TEST

/* What it returned is delivered the moment it is over its time, not when somebody looks next. */
START_TEST(to_collect_delivers_it_when_it_is_over_its_time)
{
	struct numbers numbers = NUMBERS(-1, -2);
	int64_t begin_ns = 0, late_ns = 0;
	struct timespec time;

	open_pool(2, LONG);
	clock_gettime(CLOCK_MONOTONIC, &time);
	begin_ns = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(4.0), .on_error = PAR_COLLECT,
	                                            .order = _i)),
	                 PAR_EFAILED);
	clock_gettime(CLOCK_MONOTONIC, &time);
	late_ns = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec - begin_ns;
	ck_assert_int_eq(numbers.failed, 2);
	ck_assert_int_lt(late_ns, 7900000000);
	stuck_release(2);
	par_close(pool);
}
END_TEST

START_TEST(a_late_reply_is_dropped)
{
	struct numbers numbers = NUMBERS(1, -1, 3, 4, 5, 6);

	numbers.size = _i;
	open_pool(2, LONG);
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT), .on_error = PAR_COLLECT)),
	                 PAR_EFAILED);
	ck_assert_int_eq(numbers.got, 6);
	ck_assert_int_eq(numbers.status[1], PAR_ETIMEOUT);
	stuck_release(1);
	par_close(pool);
	ck_assert_int_eq(stuck.n_inside, 0);
}
END_TEST

/* A task of the call that is over comes back in the middle of it. */
static int32_t let_go_and_get(void *user, const par_outcome *outcome)
{
	if (outcome->index == 2)
		stuck_release(1);
	return get_number(user, outcome);
}

START_TEST(one_that_comes_back_before_the_end_gives_its_place_back)
{
	struct numbers numbers = NUMBERS(-1, 2, 3, 4, 5, 6, 7, 8, 9, 10);

	open_pool(2, LONG);
	ck_assert_int_eq(par_run(pool, &par_task_stuck_double, give_number, let_go_and_get, &numbers,
	                         PAR_SETTINGS(.task_timeout = PAR_SET(SHORT), .on_error = PAR_COLLECT,
	                                      .pre_dispatch = "1"),
	                         &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(numbers.got, 10);
	par_close(pool);
	ck_assert_int_eq(stuck.n_inside, 0);
}
END_TEST

START_TEST(without_a_pool_its_thread_goes_when_the_task_does)
{
	struct numbers numbers = NUMBERS(1, -1, 3);

	leaks_begin(&leaks);
	pool = NULL;
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.n_jobs = {1, _i}, .task_timeout = PAR_SET(SHORT))),
	                 PAR_ETIMEOUT);
	ck_assert_int_eq(stuck.n_inside, 1);
	stuck_release(1);
	leaks_end(&leaks);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

/* --- arrays, and other memory of the caller's ---------------------------------------------------- */

static int64_t in[40], out[40];
static int32_t statuses[40];

/* From another thread: lets them go once the call has said that it waits. */
static void *let_go_when_told(void *n)
{
	const struct timespec nap = {.tv_nsec = 1000000};

	while (n_waiting == 0)
		(void)nanosleep(&nap, NULL);
	stuck_release(*(int *)n);
	return NULL;
}

static int32_t map(int n, const par_settings *settings, int n_stuck)
{
	pthread_t thread;
	int32_t code;

	ck_assert_int_eq(pthread_create(&thread, NULL, let_go_when_told, &n_stuck), 0);
	code = par_map(pool, &par_task_stuck_double, in, out, (uint64_t)n, settings, &error);
	ck_assert_int_eq(stuck.n_inside, 0);
	pthread_join(thread, NULL);
	return code;
}

static void fill(int n)
{
	for (int i = 0; i < n; i++)
		in[i] = i, out[i] = -100, statuses[i] = 77;
}

START_TEST(par_map_waits_for_the_task_and_says_so_once)
{
	fill(3);
	in[1] = -1;
	open_pool(_i, LONG);
	ck_assert_int_eq(map(3, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT), .statuses = statuses), 1),
	                 PAR_ETIMEOUT);
	ck_assert_int_eq(error.task, 1);
	ck_assert_int_eq(statuses[0], PAR_OK);
	ck_assert_int_eq(statuses[1], PAR_ETIMEOUT);
	ck_assert_int_eq(n_waiting, 1);
	check_works();
	par_close(pool);
}
END_TEST

START_TEST(par_map_collects_statuses)
{
	fill(40);
	in[7] = -1;
	open_pool(2, LONG);
	ck_assert_int_eq(map(40, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT), .statuses = statuses,
	                                      .on_error = _i), 1),
	                 _i == PAR_IGNORE ? PAR_OK : PAR_EFAILED);
	for (int i = 0; i < 40; i++) {
		ck_assert_int_eq(statuses[i], i == 7 ? PAR_ETIMEOUT : PAR_OK);
		ck_assert(i == 7 || out[i] == 2 * i);
	}
	par_close(pool);
}
END_TEST

static int32_t run_waiting(struct numbers *numbers, const par_settings *settings)
{
	pthread_t thread;
	int32_t code;
	int n = 1;

	ck_assert_int_eq(pthread_create(&thread, NULL, let_go_when_told, &n), 0);
	code = run(numbers, settings);
	ck_assert_int_eq(stuck.n_inside, 0);
	pthread_join(thread, NULL);
	return code;
}

START_TEST(a_stream_with_shared_memory_waits_too)
{
	struct numbers numbers = NUMBERS(1, -1, 3);

	open_pool(2, LONG);
	ck_assert_int_eq(run_waiting(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT), .shared = &pool,
	                                                    .shared_size = sizeof(pool))),
	                 PAR_ETIMEOUT);
	ck_assert_int_eq(n_waiting, 1);
	par_close(pool);
}
END_TEST

/* A number lies in its slot, whatever the source says. */
START_TEST(a_stream_with_payloads_that_stay_waits_too)
{
	struct numbers numbers = NUMBERS(-1);

	numbers.size = 100;
	numbers.stays = 1;
	open_pool(2, LONG);
	clock_stands_until(&stuck.n_inside, 1);
	ck_assert_int_eq(run_waiting(&numbers, PAR_SETTINGS(.call_timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
	ck_assert_int_eq(n_waiting, 1);
	par_close(pool);
}
END_TEST

/* --- the other two ------------------------------------------------------------------------------- */

START_TEST(a_call_ends_when_its_time_is_over)
{
	struct numbers numbers = NUMBERS(1, -1, 3, 4, 5);

	open_pool(_i, LONG);
	clock_stands_until(&stuck.n_inside, 1);
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.call_timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
	ck_assert_int_eq(error.task, -1);
	assert_contains(error.what, "call_timeout");
	ck_assert_int_eq(stuck.n_inside, 1);
	check_works();
	stuck_release(1);
	par_close(pool);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(a_result_that_does_not_come_ends_the_call)
{
	struct numbers numbers = NUMBERS(1, -1, 3, 4, 5);

	open_pool(_i, LONG);
	clock_stands_until(&stuck.n_inside, 1);
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
	assert_contains(error.what, "no result came");
	ck_assert_int_eq(stuck.n_inside, 1);
	check_works();
	stuck_release(1);
	par_close(pool);
}
END_TEST

START_TEST(a_call_on_arrays_has_statuses_when_its_time_is_over)
{
	fill(2);
	in[0] = -1;
	open_pool(1, LONG);
	clock_stands_until(&stuck.n_inside, 1);
	ck_assert_int_eq(map(2, PAR_SETTINGS(.call_timeout = PAR_SET(SHORT), .statuses = statuses), 1),
	                 PAR_ETIMEOUT);
	/* It did run to its end, later. */
	ck_assert_int_eq(statuses[0], PAR_OK);
	ck_assert_int_eq(statuses[1], PAR_EABORTED);
	par_close(pool);
}
END_TEST

START_TEST(an_iterator_has_them_too)
{
	struct numbers numbers = NUMBERS(1, -1, 3);
	const par_outcome *outcome;
	par_iter *iter;

	open_pool(_i, LONG);
	ck_assert_int_eq(par_iter_open(&iter, pool, &par_task_stuck_double, give_number, &numbers,
	                               PAR_SETTINGS(.task_timeout = PAR_SET(SHORT)), &error),
	                 PAR_OK);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
	ck_assert_int_eq(outcome->status, PAR_OK);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
	ck_assert_int_eq(outcome->status, PAR_ETIMEOUT);
	ck_assert_uint_eq(outcome->index, 1);
	while (par_iter_next(iter, &outcome, &error) == 1)
		ck_assert_int_eq(outcome->status, PAR_OK);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), PAR_ETIMEOUT);
	par_iter_close(iter, NULL);
	check_works();
	stuck_release(1);
	par_close(pool);
}
END_TEST

/* --- n_jobs 1, whose tasks otherwise run on the caller's thread ----------------------------------- */

static pthread_t ran_on;

static int look_who_runs(const int64_t *from, int64_t *to)
{
	*to = *from;
	ran_on = pthread_self();
	return 0;
}
PAR_TASK(look_who_runs, int64_t, int64_t)

static int runs_here(const par_settings *settings)
{
	ck_assert_int_eq(par_map(pool, &par_task_look_who_runs, in, out, 1, settings, &error), PAR_OK);
	return pthread_equal(ran_on, pthread_self());
}

START_TEST(an_inline_pool_has_a_thread_for_a_call_with_a_deadline)
{
	open_pool(1, LONG);
	ck_assert_str_eq(par_backend_name(pool), "sequential");
	ck_assert(runs_here(NULL));
	ck_assert(!runs_here(PAR_SETTINGS(.task_timeout = PAR_SET(LONG))));
	ck_assert_str_eq(par_backend_name(pool), "threading");
	ck_assert_int_eq(par_n_jobs(pool), 1);
	ck_assert(!runs_here(PAR_SETTINGS(.call_timeout = PAR_SET(LONG))));
	ck_assert(runs_here(NULL));
	ck_assert_str_eq(par_backend_name(pool), "sequential");
	par_close(pool);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(it_goes_back_while_the_task_still_runs)
{
	struct numbers numbers = NUMBERS(-1);

	open_pool(1, LONG);
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
	ck_assert(runs_here(NULL));
	stuck_release(1);
	par_close(pool);
}
END_TEST

/* --- closing -------------------------------------------------------------------------------------- */

static void leave_one_stuck(void)
{
	struct numbers numbers = NUMBERS(1, -1, 3);

	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
	ck_assert_int_eq(stuck.n_inside, 1);
}

START_TEST(closing_gives_up_after_its_time_and_all_goes_with_the_task)
{
	leaks_begin(&leaks);
	open_pool(_i, 0.05);
	leave_one_stuck();
	par_close(pool);
	ck_assert_int_eq(stuck.n_inside, 1);
	ck_assert_int_eq(count_in_log("is given up"), 1);
	stuck_release(1);
	leaks_end(&leaks);
}
END_TEST

START_TEST(closing_may_give_up_at_once)
{
	leaks_begin(&leaks);
	open_pool(2, 0);
	leave_one_stuck();
	par_close(pool);
	ck_assert_int_eq(stuck.n_inside, 1);
	stuck_release(1);
	leaks_end(&leaks);
}
END_TEST

START_TEST(several_calls_may_leave_tasks_behind)
{
	leaks_begin(&leaks);
	open_pool(2, LONG);
	for (int i = 0; i < 3; i++) {
		struct numbers numbers = NUMBERS(-1, -2);

		clock_stands_until(&stuck.n_inside, 2 * (i + 1));
		ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.call_timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
		stuck_await(2);
		ck_assert_int_eq(stuck.n_inside, 2 * (i + 1));
	}
	check_works();
	stuck_release(6);
	par_close(pool);
	ck_assert_int_eq(stuck.n_inside, 0);
	leaks_end(&leaks);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

START_TEST(what_was_left_goes_while_the_pool_is_in_use)
{
	open_pool(2, LONG);
	leaks_begin(&leaks);
	leave_one_stuck();
	check_works();
	stuck_release(1);
	while (stuck.n_inside > 0)
		sched_yield();
	/* Its two workers, and the descriptors that there are. */
	for (int i = 0; i < 200; i++) {
		const struct timespec nap = {.tv_nsec = 1000000};
		char report[1024];

		check_works();
		if (leaks_report(&leaks, 0, report, sizeof(report))[0] == '\0')
			break;
		(void)nanosleep(&nap, NULL);
	}
	par_close(pool);
}
END_TEST

/* --- on the caller's loop ------------------------------------------------------------------------- */

static struct {
	uv_loop_t loop;
	int n_done, n_closed;
	int32_t status;
	par_error error;
} here;

static void on_closed(void *user)
{
	(void)user;
	here.n_closed++;
}

static void on_done(void *user, int32_t status, const par_error *why)
{
	(void)user;
	here.n_done++;
	here.status = status;
	here.error = *why;
}

static void open_here(int n_jobs, double close_timeout)
{
	memset(&here, 0, sizeof(here));
	ck_assert_int_eq(uv_loop_init(&here.loop), 0);
	ck_assert_int_eq(par_open_on(&pool, &here.loop,
	                             PAR_SETTINGS(.n_jobs = {1, n_jobs}, .close_timeout = {1, close_timeout}),
	                             NULL, NULL, &error),
	                 PAR_OK);
}

static void await_done(int n)
{
	while (here.n_done < n)
		ck_assert(uv_run(&here.loop, UV_RUN_ONCE) != 0 || here.n_done >= n);
}

static void start(struct numbers *numbers, const par_settings *settings)
{
	ck_assert_int_eq(par_start_run(pool, &par_task_stuck_double, give_number, get_number, settings, on_done,
	                               numbers, &error),
	                 PAR_OK);
}

static int32_t run_here(struct numbers *numbers, const par_settings *settings)
{
	int before = here.n_done;

	start(numbers, settings);
	await_done(before + 1);
	return here.status;
}

static void close_here(void)
{
	par_close_on(pool, on_closed, NULL);
	(void)uv_run(&here.loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(here.n_closed, 1);
	ck_assert_int_eq(uv_loop_close(&here.loop), 0);
}

START_TEST(on_a_loop_a_call_ends_when_its_task_is_over_its_time)
{
	struct numbers numbers = NUMBERS(1, -1, 3), more = NUMBERS(1, 2, 3);

	open_here(_i, LONG);
	ck_assert_int_eq(run_here(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
	ck_assert_int_eq(here.error.task, 1);
	ck_assert_int_eq(stuck.n_inside, 1);
	ck_assert_int_eq(run_here(&more, NULL), PAR_OK);
	ck_assert_int_eq(more.got, 3);
	stuck_release(1);
	close_here();
}
END_TEST

START_TEST(on_a_loop_the_others_are_collected)
{
	struct numbers numbers = NUMBERS(-1, 2, 3, 4, 5, 6);

	open_here(2, LONG);
	ck_assert_int_eq(run_here(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT), .on_error = PAR_COLLECT,
	                                                 .order = _i)),
	                 PAR_EFAILED);
	ck_assert_int_eq(numbers.got, 6);
	ck_assert_int_eq(numbers.failed, 1);
	stuck_release(1);
	close_here();
}
END_TEST

START_TEST(on_a_loop_a_call_ends_when_its_time_is_over)
{
	struct numbers numbers = NUMBERS(-1);

	open_here(_i, LONG);
	ck_assert_int_eq(run_here(&numbers, PAR_SETTINGS(.call_timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
	assert_contains(here.error.what, "call_timeout");
	stuck_release(1);
	close_here();
}
END_TEST

START_TEST(on_a_loop_par_map_waits_for_its_task)
{
	pthread_t thread;
	int n = 1;

	fill(3);
	in[1] = -1;
	open_here(2, LONG);
	ck_assert_int_eq(pthread_create(&thread, NULL, let_go_when_told, &n), 0);
	ck_assert_int_eq(par_start_map(pool, &par_task_stuck_double, in, out, 3,
	                               PAR_SETTINGS(.task_timeout = PAR_SET(SHORT), .statuses = statuses),
	                               on_done, NULL, &error),
	                 PAR_OK);
	await_done(1);
	ck_assert_int_eq(stuck.n_inside, 0);
	ck_assert_int_eq(here.status, PAR_ETIMEOUT);
	ck_assert_int_eq(statuses[1], PAR_ETIMEOUT);
	pthread_join(thread, NULL);
	close_here();
}
END_TEST

START_TEST(on_a_loop_closing_gives_up_and_the_loop_may_end_before_the_task)
{
	struct numbers numbers = NUMBERS(-1);

	leaks_begin(&leaks);
	open_here(2, 0.05);
	ck_assert_int_eq(run_here(&numbers, PAR_SETTINGS(.task_timeout = PAR_SET(SHORT))), PAR_ETIMEOUT);
	close_here();
	ck_assert_int_eq(stuck.n_inside, 1);
	ck_assert_int_eq(count_in_log("is given up"), 1);
	stuck_release(1);
	leaks_end(&leaks);
}
END_TEST

/* Its call is cancelled; its tasks are not asked. */
START_TEST(on_a_loop_closing_in_the_middle_of_a_call_does_not_wait_for_its_tasks_for_ever)
{
	struct numbers numbers = NUMBERS(-1);

	leaks_begin(&leaks);
	open_here(2, 0.05);
	start(&numbers, NULL);
	while (stuck.n_inside == 0)
		(void)uv_run(&here.loop, UV_RUN_NOWAIT);
	close_here();
	ck_assert_int_eq(here.n_done, 1);
	ck_assert_int_eq(here.status, PAR_ECANCELED);
	ck_assert_int_eq(stuck.n_inside, 1);
	stuck_release(1);
	leaks_end(&leaks);
}
END_TEST

/* --- while the backend is rising ------------------------------------------------------------------- */

static const par_host *_Atomic rising;

static int32_t rise_later(par_backend *backend, const par_call *call, par_answer *answer, par_error *why)
{
	(void)call, (void)answer, (void)why;
	rising = backend->host;
	return PAR_PENDING;
}

static const par_backend_ops *slow_factory(const par_host *host, const char *name)
{
	static par_backend_ops ops;

	ops = *own_factory(host, name);
	ops.configure = rise_later;
	return &ops;
}

static void let_rise(void)
{
	rising->ready(rising, PAR_OK, NULL);
}

static void register_slow(void)
{
	rising = NULL;
	ck_assert_int_eq(par_register_backend("slow", slow_factory, OWN_NOTE, 1, &error), PAR_OK);
}

START_TEST(on_a_loop_the_time_of_a_call_includes_that_its_backend_takes_to_rise)
{
	struct numbers numbers = NUMBERS(1, 2), more = NUMBERS(1, 2);

	register_slow();
	open_here(2, LONG);
	ck_assert_int_eq(run_here(&numbers, PAR_SETTINGS(.call_timeout = PAR_SET(0.01))), PAR_ETIMEOUT);
	ck_assert_int_eq(numbers.given, 0);
	ck_assert_ptr_nonnull(rising);
	let_rise();
	ck_assert_int_eq(run_here(&more, PAR_SETTINGS(.call_timeout = PAR_SET(LONG))), PAR_OK);
	ck_assert_int_eq(more.got, 2);
	close_here();
}
END_TEST

START_TEST(a_call_of_its_own_does_not_wait_longer_for_its_backend_than_it_may_take)
{
	struct numbers numbers = NUMBERS(1, 2);

	register_slow();
	leaks_begin(&leaks);
	ck_assert_int_eq(run(&numbers, PAR_SETTINGS(.call_timeout = PAR_SET(0.01))), PAR_ETIMEOUT);
	ck_assert_int_eq(numbers.given, 0);
	assert_contains(error.what, "call_timeout");
	let_rise();
	leaks_end(&leaks);
}
END_TEST

START_TEST(an_array_of_its_own_does_not_either)
{
	register_slow();
	leaks_begin(&leaks);
	fill(3);
	ck_assert_int_eq(par_map(NULL, &par_task_stuck_double, in, out, 3,
	                         PAR_SETTINGS(.call_timeout = PAR_SET(0.01)), &error),
	                 PAR_ETIMEOUT);
	let_rise();
	leaks_end(&leaks);
	ck_assert_int_eq(out[0], -100);
}
END_TEST

/* What it opens has its first tasks, or has ended. */
START_TEST(an_iterator_of_its_own_does_not_either)
{
	struct numbers numbers = NUMBERS(1, 2);
	const par_outcome *outcome;
	par_iter *iter;

	register_slow();
	leaks_begin(&leaks);
	ck_assert_int_eq(par_iter_open(&iter, NULL, &par_task_stuck_double, give_number, &numbers,
	                               PAR_SETTINGS(.call_timeout = PAR_SET(0.01)), &error),
	                 PAR_OK);
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), PAR_ETIMEOUT);
	par_iter_close(iter, NULL);
	let_rise();
	leaks_end(&leaks);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deadlines");
	TCase *tests = tcase_create("deadlines");
	SRunner *runner = srunner_create(suite);
	char folder[PATH_MAX];
	int failed;

	leaks_own_tmpdir(folder);
	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_loop_test(tests, a_task_over_its_time_ends_the_call_at_once, 1, 3);
	tcase_add_test(tests, what_was_over_before_it_is_delivered);
	tcase_add_loop_test(tests, to_collect_goes_on_with_the_others, PAR_ORDERED, PAR_UNORDERED + 1);
	tcase_add_loop_test(tests, to_ignore_leaves_it_out, PAR_ORDERED, PAR_UNORDERED + 1);
	tcase_add_loop_test(tests, to_collect_delivers_it_when_it_is_over_its_time, PAR_ORDERED, PAR_UNORDERED + 1);
	tcase_add_loop_test(tests, those_behind_it_are_run_by_others, 1, 20);
	tcase_add_loop_test(tests, a_late_reply_is_dropped, 8, 12);
	tcase_add_loop_test(tests, a_late_reply_is_dropped, 4000, 4001);
	tcase_add_test(tests, one_that_comes_back_before_the_end_gives_its_place_back);
	tcase_add_loop_test(tests, without_a_pool_its_thread_goes_when_the_task_does, 1, 3);
	tcase_add_loop_test(tests, par_map_waits_for_the_task_and_says_so_once, 1, 3);
	tcase_add_loop_test(tests, par_map_collects_statuses, PAR_COLLECT, PAR_IGNORE + 1);
	tcase_add_test(tests, a_stream_with_shared_memory_waits_too);
	tcase_add_test(tests, a_stream_with_payloads_that_stay_waits_too);
	tcase_add_loop_test(tests, a_call_ends_when_its_time_is_over, 1, 3);
	tcase_add_loop_test(tests, a_result_that_does_not_come_ends_the_call, 1, 3);
	tcase_add_test(tests, a_call_on_arrays_has_statuses_when_its_time_is_over);
	tcase_add_loop_test(tests, an_iterator_has_them_too, 1, 3);
	tcase_add_test(tests, an_inline_pool_has_a_thread_for_a_call_with_a_deadline);
	tcase_add_test(tests, it_goes_back_while_the_task_still_runs);
	tcase_add_loop_test(tests, closing_gives_up_after_its_time_and_all_goes_with_the_task, 1, 3);
	tcase_add_test(tests, closing_may_give_up_at_once);
	tcase_add_test(tests, several_calls_may_leave_tasks_behind);
	tcase_add_test(tests, what_was_left_goes_while_the_pool_is_in_use);
	tcase_add_loop_test(tests, on_a_loop_a_call_ends_when_its_task_is_over_its_time, 1, 3);
	tcase_add_loop_test(tests, on_a_loop_the_others_are_collected, PAR_ORDERED, PAR_UNORDERED + 1);
	tcase_add_loop_test(tests, on_a_loop_a_call_ends_when_its_time_is_over, 1, 3);
	tcase_add_test(tests, on_a_loop_par_map_waits_for_its_task);
	tcase_add_test(tests, on_a_loop_closing_gives_up_and_the_loop_may_end_before_the_task);
	tcase_add_test(tests, on_a_loop_closing_in_the_middle_of_a_call_does_not_wait_for_its_tasks_for_ever);
	tcase_add_test(tests, on_a_loop_the_time_of_a_call_includes_that_its_backend_takes_to_rise);
	tcase_add_test(tests, a_call_of_its_own_does_not_wait_longer_for_its_backend_than_it_may_take);
	tcase_add_test(tests, an_array_of_its_own_does_not_either);
	tcase_add_test(tests, an_iterator_of_its_own_does_not_either);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	(void)rmdir(folder);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
