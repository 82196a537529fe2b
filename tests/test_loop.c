#include "scratch.h"

#include "loop.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

static struct loop loop;
static _Atomic int flag; /* what the loop waits for */
static int n_events;
static par_error error = PAR_ERROR_INIT;

static int is_idle(void *arg)
{
	(void)arg;
	return !atomic_load(&flag);
}

static void on_event(void *arg)
{
	(void)arg;
	n_events++;
}

static void begin(void)
{
	ck_assert_int_eq(loop_init(&loop, NULL, on_event, NULL, &error), PAR_OK);
}

static void end(void)
{
	loop_finish(&loop, NULL);
}

static void set_flag(void)
{
	atomic_store(&flag, 1);
	loop_notify(&loop);
}

static const struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};

static void *set_flag_soon(void *arg)
{
	(void)arg;
	(void)nanosleep(&moment, NULL);
	set_flag();
	return NULL;
}

START_TEST(does_not_sleep_if_there_is_something_already)
{
	int64_t before = loop_now();

	atomic_store(&flag, 1);
	loop_wait(&loop, 0, is_idle);
	ck_assert_int_lt(loop_now() - before, 5000000000);
}
END_TEST

START_TEST(a_notification_from_another_thread_wakes_it)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, set_flag_soon, NULL), 0);
	while (is_idle(NULL))
		loop_wait(&loop, 0, is_idle);
	pthread_join(thread, NULL);
	ck_assert_int_ge(n_events, 1);
}
END_TEST

static void on_alarm(int signal)
{
	(void)signal;
	set_flag();
}

START_TEST(a_notification_from_a_signal_handler_wakes_it)
{
	const struct sigaction action = {.sa_handler = on_alarm};
	const struct itimerval soon = {.it_value = {.tv_usec = 20000}};

	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
	while (is_idle(NULL))
		loop_wait(&loop, 0, is_idle);
	ck_assert(atomic_load(&flag));
}
END_TEST

START_TEST(wakes_by_itself_when_the_time_has_come)
{
	int64_t until = loop_now() + 30 * 1000 * 1000;

	loop_wait(&loop, until, is_idle);
	/* libuv counts whole milliseconds. */
	ck_assert_int_ge(loop_now(), until - 1000000);
	/* One that is past already does not wait. */
	loop_wait(&loop, loop_now() - 1, is_idle);
	ck_assert(is_idle(NULL));
}
END_TEST

enum { NOTES = 5000 };

static _Atomic int sent, seen;

static int none_sent(void *arg)
{
	(void)arg;
	return atomic_load(&sent) == atomic_load(&seen);
}

/* Each waits until the one before was seen, so that every single one must wake a loop that
 * is about to sleep. */
static void *send_many(void *arg)
{
	(void)arg;
	for (int i = 1; i <= NOTES; i++) {
		atomic_store(&sent, i);
		loop_notify(&loop);
		while (atomic_load(&seen) < i)
			(void)sched_yield();
	}
	return NULL;
}

START_TEST(no_notification_is_lost)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, send_many, NULL), 0);
	while (atomic_load(&seen) < NOTES) {
		loop_wait(&loop, 0, none_sent);
		atomic_store(&seen, atomic_load(&sent));
	}
	pthread_join(thread, NULL);
}
END_TEST

/* --- posts --------------------------------------------------------------------------------- */

static int posted[100], n_posted;
static pthread_t ran_on;

static void note_post(void *arg)
{
	posted[n_posted++] = (int)(intptr_t)arg;
	ran_on = pthread_self();
}

START_TEST(posts_run_in_order_on_the_loops_thread)
{
	for (intptr_t i = 0; i < 10; i++)
		ck_assert_int_eq(loop_post(&loop, note_post, (void *)i), PAR_OK);
	ck_assert_int_eq(n_posted, 0);
	/* They count as work: it does not sleep over them. */
	loop_wait(&loop, 0, is_idle);
	loop_run_posts(&loop);
	ck_assert_int_eq(n_posted, 10);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(posted[i], i);
	loop_run_posts(&loop);
	ck_assert_int_eq(n_posted, 10);
}
END_TEST

static void post_again(void *arg)
{
	ck_assert_int_eq(loop_post(&loop, note_post, arg), PAR_OK);
}

START_TEST(a_post_may_post)
{
	ck_assert_int_eq(loop_post(&loop, post_again, (void *)7), PAR_OK);
	loop_run_posts(&loop);
	ck_assert_int_eq(n_posted, 0);
	loop_run_posts(&loop);
	ck_assert_int_eq(n_posted, 1);
	ck_assert_int_eq(posted[0], 7);
}
END_TEST

static void *post_soon(void *arg)
{
	(void)nanosleep(&moment, NULL);
	ck_assert_int_eq(loop_post(&loop, note_post, arg), PAR_OK);
	return NULL;
}

START_TEST(a_post_from_another_thread_wakes_it)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, post_soon, (void *)3), 0);
	while (n_posted == 0) {
		loop_wait(&loop, 0, is_idle);
		loop_run_posts(&loop);
	}
	ck_assert(pthread_equal(ran_on, pthread_self()));
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(a_post_that_was_not_run_is_freed_at_the_end)
{
	ck_assert_int_eq(loop_post(&loop, note_post, NULL), PAR_OK);
	loop_finish(&loop, NULL);
	ck_assert_int_eq(n_posted, 0);
	begin();
}
END_TEST

/* --- what plugins watch ---------------------------------------------------------------------- */

static int ready_events, n_ready, n_on_time;
static par_watch *watch, *timer;

static void on_ready(void *arg, int32_t events, int32_t code)
{
	ck_assert_int_eq(code, 0);
	ck_assert_ptr_eq(arg, &loop);
	ready_events = events;
	n_ready++;
	atomic_store(&flag, 1);
}

START_TEST(a_descriptor_that_is_ready_is_told)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(loop_watch(&loop, ends[0], PAR_READABLE, on_ready, &loop, &watch), PAR_OK);
	loop_turn(&loop);
	ck_assert_int_eq(n_ready, 0);
	ck_assert_int_eq((int)write(ends[1], "x", 1), 1);
	loop_wait(&loop, 0, is_idle);
	ck_assert_int_eq(n_ready, 1);
	ck_assert_int_eq(ready_events, PAR_READABLE);
	loop_stop_watch(watch);
	loop_turn(&loop);
	ck_assert_int_eq(n_ready, 1);
	ck_assert_int_eq(loop_watch(&loop, ends[1], PAR_WRITABLE, on_ready, &loop, &watch), PAR_OK);
	loop_turn(&loop);
	ck_assert_int_eq(ready_events, PAR_WRITABLE);
	loop_stop_watch(watch);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

START_TEST(what_cannot_be_watched_is_refused)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(loop_watch(&loop, ends[0], 0, on_ready, &loop, &watch), PAR_EINVAL);
	ck_assert_int_eq(loop_watch(&loop, 999999, PAR_READABLE, on_ready, &loop, &watch), PAR_EINVAL);
	ck_assert_ptr_null(loop.first_watch);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

static void on_time(void *arg)
{
	ck_assert_ptr_eq(arg, &loop);
	n_on_time++;
	atomic_store(&flag, n_on_time >= 3);
	loop_notify(&loop);
}

START_TEST(a_timer_fires_again_and_again_until_it_is_stopped)
{
	int64_t before = loop_now();

	ck_assert_int_eq(loop_start_timer(&loop, 5000000, 5000000, on_time, &loop, &timer), PAR_OK);
	while (is_idle(NULL))
		loop_wait(&loop, 0, is_idle);
	ck_assert_int_ge(loop_now() - before, 3 * 4000000);
	loop_stop_watch(timer);
	loop_wait(&loop, loop_now() + 20 * 1000 * 1000, none_sent);
	ck_assert_int_eq(n_on_time, 3);
}
END_TEST

START_TEST(a_timer_may_fire_once_only)
{
	ck_assert_int_eq(loop_start_timer(&loop, 1000000, 0, on_time, &loop, &timer), PAR_OK);
	loop_wait(&loop, loop_now() + 50 * 1000 * 1000, is_idle);
	loop_wait(&loop, loop_now() + 20 * 1000 * 1000, is_idle);
	ck_assert_int_eq(n_on_time, 1);
	loop_stop_watch(timer);
}
END_TEST

/* --- the caller's loop ------------------------------------------------------------------------- */

static int n_closed;

static void on_closed(void *arg)
{
	(void)arg;
	n_closed++;
}

START_TEST(on_the_callers_loop_it_is_called_when_notified)
{
	struct loop guest;
	uv_loop_t uv;

	ck_assert_int_eq(uv_loop_init(&uv), 0);
	ck_assert_int_eq(loop_init(&guest, &uv, on_event, NULL, &error), PAR_OK);
	ck_assert_int_eq(loop_rest(&guest, 0, is_idle), 0);
	(void)uv_run(&uv, UV_RUN_NOWAIT);
	ck_assert_int_eq(n_events, 0);
	loop_notify(&guest);
	(void)uv_run(&uv, UV_RUN_NOWAIT);
	ck_assert_int_eq(n_events, 1);
	/* It is awake until it rests again: nothing is sent. */
	loop_notify(&guest);
	(void)uv_run(&uv, UV_RUN_NOWAIT);
	ck_assert_int_eq(n_events, 1);
	atomic_store(&flag, 1);
	ck_assert_int_eq(loop_rest(&guest, 0, is_idle), 1);
	atomic_store(&flag, 0);
	ck_assert_int_eq(loop_rest(&guest, loop_now() + 1000000, is_idle), 0);
	/* Not UV_RUN_ONCE: where the time has come before it polls, it would wait for more. */
	while (n_events < 2)
		(void)uv_run(&uv, UV_RUN_NOWAIT);
	loop_finish(&guest, on_closed);
	ck_assert_int_eq(n_closed, 0);
	(void)uv_run(&uv, UV_RUN_DEFAULT);
	ck_assert_int_eq(n_closed, 1);
	ck_assert_int_eq(uv_loop_close(&uv), 0);
}
END_TEST

START_TEST(without_descriptors_it_says_so)
{
	struct loop other;
	const struct rlimit few = {64, 64};
	int taken[64], n = 0;

	if (getenv("UNDER_VALGRIND") != NULL) {
		printf("SKIP without_descriptors_it_says_so: valgrind keeps descriptors of its own\n");
		return;
	}
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (n < 64 && (taken[n] = dup(0)) >= 0)
		n++;
	ck_assert_int_lt(n, 64);
	ck_assert_int_eq(loop_init(&other, NULL, on_event, NULL, &error), PAR_ENOMEM);
	assert_contains(error.what, "event loop");
	assert_contains(error.remedy, "ulimit -n");
	while (n > 0)
		close(taken[--n]);
	ck_assert_int_eq(loop_init(&other, NULL, on_event, NULL, &error), PAR_OK);
	loop_finish(&other, NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loop");
	TCase *tests = tcase_create("loop");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, does_not_sleep_if_there_is_something_already);
	tcase_add_test(tests, a_notification_from_another_thread_wakes_it);
	tcase_add_test(tests, a_notification_from_a_signal_handler_wakes_it);
	tcase_add_test(tests, wakes_by_itself_when_the_time_has_come);
	tcase_add_test(tests, no_notification_is_lost);
	tcase_add_test(tests, posts_run_in_order_on_the_loops_thread);
	tcase_add_test(tests, a_post_may_post);
	tcase_add_test(tests, a_post_from_another_thread_wakes_it);
	tcase_add_test(tests, a_post_that_was_not_run_is_freed_at_the_end);
	tcase_add_test(tests, a_descriptor_that_is_ready_is_told);
	tcase_add_test(tests, what_cannot_be_watched_is_refused);
	tcase_add_test(tests, a_timer_fires_again_and_again_until_it_is_stopped);
	tcase_add_test(tests, a_timer_may_fire_once_only);
	tcase_add_test(tests, on_the_callers_loop_it_is_called_when_notified);
	tcase_add_test(tests, without_descriptors_it_says_so);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
